package io.polybatch.client;

import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/** Addresses as people write them: {@code host:port} with or without a scheme. */
final class Addresses {
  private static final Pattern TLS_SCHEME = Pattern.compile("^(grpcs|https)://");
  private static final Pattern SCHEME = Pattern.compile("^(grpcs?|https)://");
  private static final Pattern HOST_AND_PORT =
      Pattern.compile("(\\[[0-9a-fA-F:.%\\w]+\\]|[^\\s/:\\[\\]]+):(\\d{1,5})");
  private static final Pattern OTHER_TARGET = Pattern.compile("(unix|dns):.+");
  private static final Pattern LOCAL =
      Pattern.compile("(localhost|127\\.\\d+\\.\\d+\\.\\d+|\\[::1\\]):\\d+|unix:.+");
  private static final Pattern IP = Pattern.compile("(\\d+\\.\\d+\\.\\d+\\.\\d+|\\[.*\\]):\\d+");

  /** One for each replica, without schemes, each once. */
  static List<String> parse(Server server, String text) {
    Set<String> found = new LinkedHashSet<>();
    for (String address : split(text)) {
      String bare = bare(address);
      var match = HOST_AND_PORT.matcher(bare);
      boolean usable =
          match.matches()
              ? Integer.parseInt(match.group(2)) <= 65_535
              : OTHER_TARGET.matcher(bare).matches();
      if (!usable) {
        throw invalid(server, address);
      }
      found.add(bare);
    }
    if (found.isEmpty()) {
      throw invalid(server, text);
    }
    return List.copyOf(found);
  }

  /**
   * Whether to speak TLS: as asked (null: nobody did), else wherever an address names it or is not
   * this machine. A key must not cross a network in the clear unless somebody asked for that.
   */
  static boolean tls(Boolean asked, String gateway, String collector) {
    List<String> all = split(gateway + "," + collector);
    String named =
        all.stream().filter(each -> TLS_SCHEME.matcher(each).find()).findFirst().orElse(null);
    if (asked != null) {
      if (!asked && named != null) {
        throw new PolybatchException(
            "TLS_SETTING_INVALID",
            "TLS is turned off, but the address "
                + named
                + " asks for it; use grpc:// in the address, or leave POLYBATCH_TLS at 1",
            null);
      }
      return asked;
    }
    return named != null
        || !all.stream()
            .allMatch(each -> each.startsWith("grpc://") || LOCAL.matcher(bare(each)).matches());
  }

  /** Whether the address is a name that more than one machine can have. */
  static boolean mayBeSeveral(String address) {
    return !LOCAL.matcher(address).matches() && !IP.matcher(address).matches();
  }

  /** As gRPC wants it. */
  static String target(String address) {
    return OTHER_TARGET.matcher(address).matches() && !HOST_AND_PORT.matcher(address).matches()
        ? address
        : "dns:///" + address;
  }

  private static List<String> split(String text) {
    return Arrays.stream(text.split(",")).map(String::strip).filter(s -> !s.isEmpty()).toList();
  }

  private static String bare(String address) {
    return SCHEME.matcher(address).replaceFirst("").replaceFirst("/+$", "");
  }

  private static PolybatchException invalid(Server server, String address) {
    return new PolybatchException(
        "ADDRESS_INVALID",
        "the %s address %s is not host:port; give one such as localhost:50051, or several separated by commas (%s)"
            .formatted(server.title(), address, server.variable()),
        null);
  }

  private Addresses() {}
}

package io.polybatch.client;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * Options with the environment and the defaults filled in.
 *
 * @param tlsCa null: the authorities that Java brings
 * @param tlsClientCert null with its key: none
 */
record Connection(
    List<String> gateway,
    List<String> collector,
    String apiKey,
    boolean tls,
    Path tlsCa,
    Path tlsClientCert,
    Path tlsClientKey,
    Duration giveUpAfter) {
  private static final Duration DEFAULT_WAIT = Duration.ofMinutes(2);
  // More would not fit the nanoseconds that waits are counted in.
  private static final BigDecimal LONGEST_WAIT_SECONDS = BigDecimal.valueOf(1_000_000_000);
  private static final Set<String> TRUE = Set.of("1", "true", "yes", "on");
  private static final Set<String> FALSE = Set.of("0", "false", "no", "off");

  static Connection resolve(ClientOptions options) {
    Map<String, String> environment = options.environment;
    String gateway = either(options.gateway, environment.get("POLYBATCH_GATEWAY"));
    String collector = either(options.collector, environment.get("POLYBATCH_COLLECTOR"));
    if (gateway == null || collector == null) {
      JsonObject here = localAddresses(environment);
      gateway = either(gateway, here.get("gateway").getAsString());
      collector = either(collector, here.get("collector").getAsString());
    }
    Path cert = file(options.tlsClientCert, environment.get("POLYBATCH_TLS_CLIENT_CERT"));
    Path key = file(options.tlsClientKey, environment.get("POLYBATCH_TLS_CLIENT_KEY"));
    if ((cert == null) != (key == null)) {
      throw new PolybatchException(
          "TLS_CLIENT_CERT_INCOMPLETE",
          "a client certificate needs its key, and the key its certificate: POLYBATCH_TLS_CLIENT_"
              + (cert == null ? "CERT" : "KEY")
              + " is not set; name both PEM files",
          null);
    }
    Boolean asked = options.tls != null ? options.tls : tlsSetting(environment);
    boolean tls = Addresses.tls(asked, gateway, collector);
    return new Connection(
        Addresses.parse(Server.GATEWAY, gateway),
        Addresses.parse(Server.COLLECTOR, collector),
        findKey(options),
        tls,
        file(options.tlsCa, environment.get("POLYBATCH_TLS_CA")),
        cert,
        key,
        findGiveUpAfter(options));
  }

  List<String> addresses(Server server) {
    return server == Server.GATEWAY ? gateway : collector;
  }

  /** The key aside. */
  @Override
  public String toString() {
    return "Connection[gateway=" + gateway + ", collector=" + collector + ", tls=" + tls + "]";
  }

  /** Where gateway and collector of this machine listen. */
  private static JsonObject localAddresses(Map<String, String> environment) {
    Path file = dataFolder(environment).resolve("addresses.json");
    try {
      JsonObject found = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
      if (found.has("gateway") && found.has("collector")) {
        return found;
      }
    } catch (NoSuchFileException nothingRunsThere) {
      return usualAddresses(environment);
    } catch (IOException | JsonParseException | IllegalStateException error) {
      throw unreadable(file, error);
    }
    throw unreadable(file, null);
  }

  private static PolybatchException unreadable(Path file, Exception error) {
    return new PolybatchException(
        "ADDRESSES_UNREADABLE",
        "the file "
            + file
            + " does not hold the addresses of gateway and collector; start polybatch again, which"
            + " writes it, or set POLYBATCH_GATEWAY and POLYBATCH_COLLECTOR",
        error);
  }

  private static JsonObject usualAddresses(Map<String, String> environment) {
    String base = either(environment.get("POLYBATCH_PORT_BASE"), "50051").strip();
    if (!base.matches("\\d{1,5}")
        || Integer.parseInt(base) < 1
        || Integer.parseInt(base) > 65_534) {
      throw new PolybatchException(
          "PORT_BASE_INVALID",
          "POLYBATCH_PORT_BASE is "
              + base
              + "; set it to the first of the ports that polybatch listens on",
          null);
    }
    JsonObject usual = new JsonObject();
    usual.addProperty("gateway", "localhost:" + base);
    usual.addProperty("collector", "localhost:" + (Integer.parseInt(base) + 1));
    return usual;
  }

  private static String findKey(ClientOptions options) {
    String found = options.apiKey;
    if (found == null && options.apiKeyFile == null) {
      found = either(options.environment.get("POLYBATCH_API_KEY"), null);
    }
    if (found == null) {
      Path file =
          options.apiKeyFile != null
              ? options.apiKeyFile
              : dataFolder(options.environment).resolve("api-key");
      try {
        found = Files.readString(file);
      } catch (IOException error) {
        String why = error instanceof NoSuchFileException ? "does not exist" : "cannot be read";
        throw new PolybatchException(
            "API_KEY_MISSING",
            "no API key: the key file "
                + file
                + " "
                + why
                + "; set POLYBATCH_API_KEY, or POLYBATCH_DATA_DIR to the data folder of polybatch",
            error);
      }
    }
    String key = found.strip();
    // gRPC would send something else.
    if (!key.matches("[\\x20-\\x7e]+")) {
      throw new PolybatchException(
          "API_KEY_INVALID",
          "the API key is empty or has characters that no key has; check POLYBATCH_API_KEY or the"
              + " key file",
          null);
    }
    return key;
  }

  private static Duration findGiveUpAfter(ClientOptions options) {
    String named = either(options.environment.get("POLYBATCH_WAIT"), "").strip();
    if (options.giveUpAfter == null && named.isEmpty()) {
      return DEFAULT_WAIT;
    }
    try {
      BigDecimal seconds =
          options.giveUpAfter == null
              ? new BigDecimal(named)
              : BigDecimal.valueOf(options.giveUpAfter.toMillis(), 3);
      if (seconds.signum() >= 0 && seconds.compareTo(LONGEST_WAIT_SECONDS) <= 0) {
        return Duration.ofNanos(seconds.movePointRight(9).longValue());
      }
    } catch (NumberFormatException error) {
      // As what is out of range.
    }
    throw new PolybatchException(
        "WAIT_INVALID",
        (options.giveUpAfter == null ? named : options.giveUpAfter)
            + " is no time to wait; give seconds from 0 on (POLYBATCH_WAIT), 0 is not to wait at"
            + " all",
        null);
  }

  private static Boolean tlsSetting(Map<String, String> environment) {
    String setting = either(environment.get("POLYBATCH_TLS"), "").strip().toLowerCase(Locale.ROOT);
    if (setting.isEmpty()) {
      return null;
    }
    if (!TRUE.contains(setting) && !FALSE.contains(setting)) {
      throw new PolybatchException(
          "TLS_SETTING_INVALID", "POLYBATCH_TLS is " + setting + "; set it to 1 or 0", null);
    }
    return TRUE.contains(setting);
  }

  private static Path dataFolder(Map<String, String> environment) {
    return Path.of(either(environment.get("POLYBATCH_DATA_DIR"), ".polybatch"));
  }

  private static Path file(Path given, String named) {
    return given != null ? given : named == null || named.isEmpty() ? null : Path.of(named);
  }

  private static String either(String first, String second) {
    return first != null && !first.isEmpty() ? first : second;
  }
}

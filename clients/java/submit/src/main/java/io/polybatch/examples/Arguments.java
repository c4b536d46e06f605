package io.polybatch.examples;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HexFormat;
import java.util.List;

/**
 * What the program was asked to do.
 *
 * @param requests null with {@code watch}
 * @param watch id of a batch that was made before; empty: none
 * @param requestId one of its own where none was given, so that an upload can be gone on with
 */
record Arguments(
    boolean help,
    boolean skipInvalid,
    boolean lenient,
    String requestId,
    String watch,
    Path requests,
    Path results) {
  static final String USAGE =
      """
      Usage: submit [options] REQUESTS.jsonl RESULTS.jsonl
             submit --watch BATCH_ID [options] RESULTS.jsonl

      Uploads the requests, prints the batch's id, watches the batch, writes its results.

        --skip-invalid    run the good lines; bad ones come back as failed lines
        --lenient         leave out what a line asks for and its provider lacks
        --request-id ID   8 to 64 characters of [A-Za-z0-9_-]: run again with the same id, it
                          goes on with the same upload, or with the batch that was made of it
        --watch ID        go on with a batch that was made before
        --help

      Environment, as for the Python client:
        POLYBATCH_GATEWAY, POLYBATCH_COLLECTOR   localhost:50051, localhost:50052;
                                                 grpcs://host:port for TLS; several replicas
                                                 separated by commas
        POLYBATCH_API_KEY    else the file api-key in POLYBATCH_DATA_DIR (.polybatch)
        POLYBATCH_TLS        1 or 0; else on unless both are this machine
        POLYBATCH_TLS_CA, POLYBATCH_TLS_CLIENT_CERT, POLYBATCH_TLS_CLIENT_KEY   PEM files
        POLYBATCH_WAIT       seconds in which nothing gets through before it gives up: 120

      Exit codes: 0 all lines succeeded, 1 error, 2 bad input, 3 completed with failed lines,
      4 failed, expired or cancelled, 130 Ctrl-C (a batch that was made goes on).\
      """;

  /**
   * @throws IllegalArgumentException the options are wrong
   * @throws IOException a file cannot be used; nobody wants to pay for results that cannot be
   *     written
   */
  static Arguments parse(String[] args) throws IOException {
    boolean skipInvalid = false;
    boolean lenient = false;
    String requestId = null;
    String watch = "";
    List<String> files = new ArrayList<>();
    Deque<String> left = new ArrayDeque<>(List.of(args));
    while (!left.isEmpty()) {
      String next = left.pop();
      int equals = next.startsWith("--") ? next.indexOf('=') : -1;
      String option = equals < 0 ? next : next.substring(0, equals);
      switch (option) {
        case "--help" -> {
          return new Arguments(true, false, false, "", "", null, null);
        }
        case "--skip-invalid" -> skipInvalid = true;
        case "--lenient" -> lenient = true;
        case "--request-id" -> requestId = value(next, equals, left);
        case "--watch" -> watch = value(next, equals, left);
        case "--" -> {
          files.addAll(left);
          left.clear();
        }
        default -> {
          if (next.startsWith("-")) {
            throw wrong("there is no option " + next + ".");
          }
          files.add(next);
        }
      }
    }
    int wanted = watch.isEmpty() ? 2 : 1;
    if (files.size() != wanted) {
      throw wrong((wanted == 2 ? "two file names are" : "one file name is") + " needed.");
    }
    if (requestId == null) {
      byte[] random = new byte[16];
      new SecureRandom().nextBytes(random);
      requestId = HexFormat.of().formatHex(random);
    } else if (!requestId.matches("[A-Za-z0-9_-]{8,64}")) {
      throw wrong("--request-id takes 8 to 64 characters of [A-Za-z0-9_-].");
    }
    Path requests = watch.isEmpty() ? Path.of(files.get(0)) : null;
    Path results = Path.of(files.get(wanted - 1));
    checkFiles(requests, results);
    return new Arguments(false, skipInvalid, lenient, requestId, watch, requests, results);
  }

  private static String value(String argument, int equals, Deque<String> left) {
    String value = equals >= 0 ? argument.substring(equals + 1) : left.isEmpty() ? "" : left.pop();
    if (value.isEmpty()) {
      throw wrong(argument + " needs a value.");
    }
    return value;
  }

  private static IllegalArgumentException wrong(String what) {
    return new IllegalArgumentException(what + " `submit --help` lists the options.");
  }

  private static void checkFiles(Path requests, Path results) throws IOException {
    if (requests != null) {
      if (!Files.isRegularFile(requests)) {
        throw new IOException(requests + " is not a file");
      }
      if (!Files.isReadable(requests)) {
        throw new IOException(requests + " cannot be read");
      }
    }
    if (Files.exists(results) && !Files.isRegularFile(results)) {
      throw new IOException(results + " exists and is not a regular file");
    }
    Path folder = results.toAbsolutePath().getParent();
    if (folder == null || !Files.isDirectory(folder) || !Files.isWritable(folder)) {
      throw new IOException(results + " cannot be written: its folder is missing or not writable");
    }
  }

  /** Java's own message is the file's name alone. */
  static String describe(IOException error) {
    if (error instanceof NoSuchFileException) {
      return error.getMessage() + " does not exist";
    }
    if (error instanceof AccessDeniedException) {
      return error.getMessage() + " may not be used";
    }
    return error.getMessage();
  }
}

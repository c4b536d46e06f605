package io.polybatch.examples;

import io.polybatch.client.ClientOptions;
import io.polybatch.client.CloseableIterator;
import io.polybatch.client.PolybatchClient;
import io.polybatch.client.PolybatchException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.logging.Level;
import java.util.logging.Logger;
import polybatch.v1.Batches.Batch;
import polybatch.v1.Batches.BatchState;
import polybatch.v1.Batches.CreateBatchRequest;

/** Runs one batch: uploads the requests, watches the batch to its end, writes the results. */
public final class Submit {
  private static final int ERROR = 1;
  private static final int BAD_INPUT = 2;
  private static final int LINES_FAILED = 3;
  private static final int BATCH_FAILED = 4;

  /** The same again is no use. */
  private static final Set<String> FOR_GOOD =
      Set.of("INVALID_ARGUMENT", "UNAUTHENTICATED", "NOT_FOUND", "ALREADY_EXISTS");

  private final Arguments arguments;
  private final Console console;
  private volatile String howToGoOn = "";

  private Submit(Arguments arguments, Console console) {
    this.arguments = arguments;
    this.console = console;
  }

  /** The exit code is what {@code --help} lists. */
  public static void main(String[] args) {
    // Whatever gRPC would log comes to us as an exception too.
    Logger.getLogger("io.grpc").setLevel(Level.OFF);
    Console console = new Console();
    Arguments arguments;
    try {
      arguments = Arguments.parse(args);
    } catch (IllegalArgumentException | IOException error) {
      console.complain(error.getMessage());
      System.exit(BAD_INPUT);
      return;
    }
    if (arguments.help()) {
      console.result(Arguments.USAGE);
      return;
    }
    Submit program = new Submit(arguments, console);
    CountDownLatch stopped = program.stopOnInterrupt(Thread.currentThread());
    int exitCode;
    try {
      exitCode = program.run();
    } finally {
      stopped.countDown();
    }
    System.exit(exitCode);
  }

  /** Ctrl-C: what is under way is ended in order, so that nothing half-written is left. */
  private CountDownLatch stopOnInterrupt(Thread main) {
    CountDownLatch stopped = new CountDownLatch(1);
    Runnable stop =
        () -> {
          if (stopped.getCount() == 0) {
            return;
          }
          console.complain("stopped" + (howToGoOn.isEmpty() ? "" : "; " + howToGoOn));
          console.close();
          main.interrupt();
          try {
            stopped.await();
          } catch (InterruptedException again) {
            Thread.currentThread().interrupt();
          }
        };
    Runtime.getRuntime().addShutdownHook(new Thread(stop));
    return stopped;
  }

  private int run() {
    ClientOptions options =
        ClientOptions.builder()
            .onRetry(
                (error, wait) -> {
                  if (wait.toSeconds() >= 1) {
                    console.say(
                        error.getMessage() + "; trying again in " + wait.toSeconds() + " s");
                  }
                })
            .build();
    try (PolybatchClient client = PolybatchClient.create(options)) {
      String batchId = arguments.watch().isEmpty() ? submit(client) : arguments.watch();
      howToGoOn = batchId + " goes on; watch it again with --watch " + batchId;
      Batch batch = watch(client, batchId);
      try {
        client.downloadResults(batchId, arguments.results());
      } catch (PolybatchException error) {
        // It failed as such; that was shown.
        if (!error.reason().equals("NO_RESULTS")) {
          throw error;
        }
      }
      return exitCode(batch);
    } catch (PolybatchException error) {
      return complain(error);
    } catch (IOException error) {
      console.complain(Arguments.describe(error));
      return ERROR;
    }
  }

  private String submit(PolybatchClient client) throws IOException {
    howToGoOn =
        "to go on with this upload, run it again with --request-id " + arguments.requestId();
    Batch made =
        client.submit(
            arguments.requests(),
            CreateBatchRequest.newBuilder()
                .setRequestId(arguments.requestId())
                .setSkipInvalidLines(arguments.skipInvalid())
                .setLenientTranslation(arguments.lenient())
                .build());
    console.result(made.getId());
    return made.getId();
  }

  private Batch watch(PolybatchClient client, String batchId) {
    Progress progress = new Progress();
    Batch batch = null;
    try (CloseableIterator<Batch> snapshots = client.watch(batchId)) {
      while (snapshots.hasNext()) {
        batch = snapshots.next();
        progress.news(batch).ifPresent(console::say);
      }
    }
    return batch;
  }

  private static int exitCode(Batch batch) {
    if (batch.getState() != BatchState.BATCH_STATE_COMPLETED) {
      return BATCH_FAILED;
    }
    return Progress.unsuccessful(batch.getRequestCounts()) > 0 ? LINES_FAILED : 0;
  }

  private int complain(PolybatchException error) {
    String code = error.code().map(Enum::name).orElse("");
    console.complain(error.getMessage() + " (" + error.reason() + ")");
    for (var violation : error.violations()) {
      console.say("  " + violation.field() + ": " + violation.description());
    }
    if (error.reason().equals("INVALID_LINES")) {
      mending(error.metadata()).ifPresent(console::say);
    } else if (!howToGoOn.isEmpty() && !FOR_GOOD.contains(code)) {
      console.say(howToGoOn);
    }
    boolean badInput =
        Set.of("INVALID_ARGUMENT", "OUT_OF_RANGE", "UNIMPLEMENTED").contains(code)
            || Set.of("FILE_TOO_LARGE", "TOO_MANY_LINES", "UPLOAD_TRUNCATED")
                .contains(error.reason());
    return badInput ? BAD_INPUT : ERROR;
  }

  private static Optional<String> mending(Map<String, String> counts) {
    List<String> ways = new ArrayList<>();
    String lenient = counts.getOrDefault("lenient_line_count", "0");
    if (!lenient.equals("0")) {
      ways.add("--lenient takes " + lenient + " of them");
    }
    // Of a file without a good line there is none to run.
    if (!Objects.equals(counts.get("invalid_line_count"), counts.get("line_count"))) {
      ways.add("--skip-invalid runs the others");
    }
    return ways.isEmpty() ? Optional.empty() : Optional.of(String.join("; ", ways));
  }
}

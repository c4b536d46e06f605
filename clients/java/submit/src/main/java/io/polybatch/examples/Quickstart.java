package io.polybatch.examples;

import io.polybatch.client.PolybatchClient;
import java.nio.file.Path;

/** The example of the README. */
public final class Quickstart {
  public static void main(String[] args) throws Exception {
    try (var client = PolybatchClient.create()) {
      var batch = client.submit(Path.of(args[0]));
      try (var snapshots = client.watch(batch.getId())) {
        snapshots.forEachRemaining(now -> System.out.println(now.getDisplayState()));
      }
      try (var lines = client.results(batch.getId())) {
        lines.forEachRemaining(line -> System.out.println(line.customId() + " " + line.body()));
      }
    }
  }

  private Quickstart() {}
}

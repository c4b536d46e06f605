package io.polybatch.examples;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import polybatch.v1.Batches.Batch;
import polybatch.v1.Batches.BatchError;
import polybatch.v1.Batches.RequestCounts;
import polybatch.v1.Batches.ShardStatus;

/** What is said of a batch while it runs. */
final class Progress {
  private static final int SHARDS = 5;

  private String shown = "";

  /** A line for people; empty where the snapshot says no more than counts that have moved on. */
  Optional<String> news(Batch batch) {
    String state = batch.getState().name().replace("BATCH_STATE_", "").toLowerCase(Locale.ROOT);
    String percent = (long) Math.floor(batch.getProgressPercent()) + " %";
    String reasons = String.join("; ", reasons(batch));
    String news = String.join(";", state, percent, reasons);
    if (news.equals(shown)) {
      return Optional.empty();
    }
    shown = news;
    RequestCounts counts = batch.getRequestCounts();
    String text =
        "%s: %s (%s), %s, %d of %d lines"
            .formatted(
                batch.getId(),
                batch.getDisplayState(),
                state,
                percent,
                counts.getSucceeded() + unsuccessful(counts),
                counts.getTotal());
    text += apart(counts.getFailed(), "failed");
    text += apart(counts.getCancelled(), "cancelled");
    text += apart(counts.getExpired(), "expired");
    return Optional.of(reasons.isEmpty() ? text : text + "; " + reasons);
  }

  /** Lines that ended without success. */
  static long unsuccessful(RequestCounts counts) {
    return counts.getFailed() + counts.getCancelled() + counts.getExpired();
  }

  private static String apart(long count, String word) {
    return count == 0 ? "" : ", " + count + " " + word;
  }

  private static List<String> reasons(Batch batch) {
    List<String> reasons = new ArrayList<>();
    for (BatchError error : batch.getErrorsList()) {
      reasons.add(error.getCode() + ": " + error.getMessage());
    }
    if (batch.hasCommonCause()) {
      BatchError cause = batch.getCommonCause();
      reasons.add(
          "every line failed for one cause: " + cause.getCode() + ": " + cause.getMessage());
    }
    batch.getShardsList().stream()
        .filter(shard -> !shard.getWaitingReason().isEmpty())
        .limit(SHARDS)
        .map((ShardStatus shard) -> shard.getModel() + " waits: " + shard.getWaitingReason())
        .forEach(reasons::add);
    return reasons;
  }
}

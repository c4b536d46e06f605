package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BackoffTest {
  private long now;
  // Without jitter: the longest waits.
  private final Backoff backoff = new Backoff(Duration.ofSeconds(30), () -> now, () -> 1.0);

  @ParameterizedTest
  @CsvSource({
    "UNAVAILABLE, UNAVAILABLE, 0.2",
    "UNAVAILABLE, SERVER_STOPPING, 0",
    "ABORTED, UPLOAD_CONFLICT, 0.2",
    "DEADLINE_EXCEEDED, DEADLINE_EXCEEDED, 0.2",
    "INTERNAL, INTERNAL, 0.2",
    "FAILED_PRECONDITION, WRITE_OFFSET_MISMATCH, 0.2",
    "RESOURCE_EXHAUSTED, FILE_TOO_LARGE, never",
    "UNAVAILABLE, TLS_FAILED, never",
    "UNAUTHENTICATED, API_KEY_REVOKED, never",
    "INVALID_ARGUMENT, INVALID_LINES, never",
    "FAILED_PRECONDITION, BATCH_ENDED, never",
    "NOT_FOUND, BATCH_NOT_FOUND, never",
    "UNIMPLEMENTED, UNIMPLEMENTED, never",
  })
  void firstWait(Status.Code code, String reason, String seconds) {
    Optional<Duration> wait = backoff.beforeRetry(failure(code, reason, null));
    assertEquals(seconds.equals("never") ? Optional.empty() : seconds(seconds), wait);
  }

  @Test
  void waitsDoubleUntilNothingHasGotThroughForTooLong() {
    var away = failure(Status.Code.UNAVAILABLE, "UNAVAILABLE", null);
    for (String wait : List.of("0.2", "0.4", "0.8", "1.6", "3.2", "5", "5")) {
      assertEquals(seconds(wait), backoff.beforeRetry(away));
    }
    now = Duration.ofSeconds(27).toNanos();
    assertEquals(seconds("3"), backoff.beforeRetry(away), "the last attempt comes at the end");
    now = Duration.ofSeconds(30).toNanos();
    assertEquals(Optional.empty(), backoff.beforeRetry(away));
    assertTrue(backoff.timedOut());
    backoff.progress();
    assertEquals(seconds("0.2"), backoff.beforeRetry(away));
    assertFalse(backoff.timedOut());
  }

  @Test
  void theServiceSaysHowLongToWait() {
    assertEquals(seconds("7"), backoff.beforeRetry(exhausted("REQUEST_RATE_LIMIT", 7)));
    assertEquals(
        Optional.empty(),
        backoff.beforeRetry(exhausted("STORED_BYTES_LIMIT", 7)),
        "only deleting files ends that");
    assertEquals(
        Optional.empty(),
        backoff.beforeRetry(exhausted("WEBHOOKS_LIMIT", 7)),
        "only deleting an endpoint ends that");
    assertEquals(
        Optional.empty(), backoff.beforeRetry(exhausted("REQUEST_RATE_LIMIT", 31)), "too long");
    assertTrue(backoff.timedOut());
  }

  @Test
  void aSecondReplicaThatStopsIsNotAskedAtOnce() {
    var stopping = failure(Status.Code.UNAVAILABLE, "SERVER_STOPPING", null);
    assertEquals(seconds("0"), backoff.beforeRetry(stopping));
    assertEquals(seconds("0.4"), backoff.beforeRetry(stopping));
  }

  @Test
  void theServicesOwnFaultIsTriedThreeTimes() {
    var fault = failure(Status.Code.INTERNAL, "INTERNAL", null);
    for (int attempt = 0; attempt < 3; attempt++) {
      assertTrue(backoff.beforeRetry(fault).isPresent());
    }
    assertEquals(Optional.empty(), backoff.beforeRetry(fault));
  }

  private static PolybatchException exhausted(String reason, long seconds) {
    return failure(Status.Code.RESOURCE_EXHAUSTED, reason, Duration.ofSeconds(seconds));
  }

  private static PolybatchException failure(Status.Code code, String reason, Duration retryAfter) {
    return new PolybatchException("", null, code, reason, Map.of(), List.of(), retryAfter);
  }

  private static Optional<Duration> seconds(String text) {
    return Optional.of(Duration.ofNanos((long) (Double.parseDouble(text) * 1e9)));
  }
}

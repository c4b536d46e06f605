package io.polybatch.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Optional;
import java.util.Set;
import java.util.function.DoubleSupplier;
import java.util.function.LongSupplier;

/** The waits between the attempts of one operation. {@link #progress} starts them over. */
final class Backoff {
  private static final Duration FIRST_WAIT = Duration.ofMillis(200);
  private static final Duration LONGEST_WAIT = Duration.ofSeconds(5);

  private static final Set<Status.Code> TRANSIENT =
      EnumSet.of(
          Status.Code.UNAVAILABLE,
          Status.Code.ABORTED,
          Status.Code.CANCELLED,
          Status.Code.DEADLINE_EXCEEDED,
          Status.Code.RESOURCE_EXHAUSTED);
  // Every RPC may be repeated safely, but these rarely pass by themselves.
  private static final Set<Status.Code> UNCLEAR =
      EnumSet.of(Status.Code.INTERNAL, Status.Code.UNKNOWN, Status.Code.DATA_LOSS);
  private static final int UNCLEAR_LIMIT = 3;
  // Another stream of the same upload was there, and took back what it had committed.
  private static final String CONTESTED = "WRITE_OFFSET_MISMATCH";
  // Of transient codes, yet only what somebody does ends them.
  private static final Set<String> LASTING =
      Set.of("STORED_BYTES_LIMIT", "WEBHOOKS_LIMIT", Failures.TLS_FAILED);
  // The replica is being stopped, in order: there is another one, or soon will be.
  private static final String AT_ONCE = "SERVER_STOPPING";

  private final Duration giveUpAfter;
  private final LongSupplier nanoTime;
  private final DoubleSupplier random;
  private int failures;
  private int unclearFailures;
  private long firstFailure;
  private boolean timedOut;

  /**
   * @param giveUpAfter how long nothing may get through, from the first failure on
   * @param random from 0 to 1, for the jitter
   */
  Backoff(Duration giveUpAfter, LongSupplier nanoTime, DoubleSupplier random) {
    this.giveUpAfter = giveUpAfter;
    this.nanoTime = nanoTime;
    this.random = random;
  }

  /** Something got through: the next failure is a first one again. */
  void progress() {
    failures = 0;
    unclearFailures = 0;
  }

  /** Whether the last failure was a transient one that came too late. */
  boolean timedOut() {
    return timedOut;
  }

  /** The wait before the next attempt; empty where none makes sense. */
  Optional<Duration> beforeRetry(PolybatchException error) {
    long now = nanoTime.getAsLong();
    if (failures == 0) {
      firstFailure = now;
    }
    failures++;
    timedOut = false;
    if (!passes(error)) {
      return Optional.empty();
    }
    Duration left = giveUpAfter.minusNanos(now - firstFailure);
    Duration asked = error.retryAfter().orElse(Duration.ZERO);
    if (left.isZero() || left.isNegative() || asked.compareTo(left) > 0) {
      timedOut = true;
      return Optional.empty();
    }
    if (error.reason().equals(AT_ONCE) && failures == 1) {
      return Optional.of(Duration.ZERO);
    }
    long ceiling =
        Math.min(LONGEST_WAIT.toNanos(), FIRST_WAIT.toNanos() << Math.min(failures - 1, 30));
    long jittered = (long) (ceiling * (0.5 + random.getAsDouble() / 2));
    // The last attempt comes when the time is over, not before.
    long wait = Math.min(Math.max(jittered, asked.toNanos()), left.toNanos());
    return Optional.of(Duration.ofNanos(wait));
  }

  private boolean passes(PolybatchException error) {
    Status.Code code = error.code().orElse(null);
    if (code == null || LASTING.contains(error.reason())) {
      return false;
    }
    if (UNCLEAR.contains(code) || error.reason().equals(CONTESTED)) {
      unclearFailures++;
      return unclearFailures <= UNCLEAR_LIMIT;
    }
    if (code == Status.Code.RESOURCE_EXHAUSTED && error.retryAfter().isEmpty()) {
      return false;
    }
    return TRANSIENT.contains(code);
  }
}

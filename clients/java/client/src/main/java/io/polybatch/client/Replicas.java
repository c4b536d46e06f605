package io.polybatch.client;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import java.util.stream.IntStream;

/**
 * Gives calls to the replicas of a server by turns; may be shared by threads.
 *
 * <p>One that was away is left alone for a moment, longer each time, as long as another one can be
 * asked: so the repetition of a call goes elsewhere.
 */
final class Replicas {
  private static final long FIRST_REST = TimeUnit.SECONDS.toNanos(1);
  private static final long LONGEST_REST = TimeUnit.SECONDS.toNanos(10);

  private final List<Replica> all;
  private final LongSupplier nanoTime;
  private int next;

  /**
   * @param first index of the one that takes the first call; by chance, as many clients make one
   *     call each
   */
  Replicas(List<Replica> all, LongSupplier nanoTime, int first) {
    this.all = new ArrayList<>(all);
    this.nanoTime = nanoTime;
    this.next = first;
  }

  /** For one call: the next one that does not rest; where all rest, the one for the least time. */
  synchronized Replica turn() {
    long now = nanoTime.getAsLong();
    int chosen =
        IntStream.range(next, next + all.size())
            .map(step -> step % all.size())
            .boxed()
            .min(Comparator.comparingLong(at -> rest(all.get(at), now)))
            .orElseThrow();
    next = (chosen + 1) % all.size();
    return all.get(chosen);
  }

  /** The replica is there. */
  synchronized void answered(Replica replica) {
    replica.failures = 0;
  }

  /** The replica is not there. */
  synchronized void away(Replica replica) {
    long now = nanoTime.getAsLong();
    // Calls that were under way together fail together: that is one failure.
    if (rest(replica, now) == 0) {
      replica.restsUntil =
          now + Math.min(LONGEST_REST, FIRST_REST << Math.min(replica.failures, 10));
      replica.failures++;
    }
  }

  void close() {
    all.forEach(Replica::close);
  }

  /** Nanoseconds from now on. */
  private static long rest(Replica replica, long now) {
    return replica.failures == 0 ? 0 : Math.max(0, replica.restsUntil - now);
  }
}

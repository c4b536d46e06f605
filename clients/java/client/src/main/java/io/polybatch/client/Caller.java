package io.polybatch.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import java.util.function.BooleanSupplier;

/** The connections of one client, and its way of trying again; may be shared by threads. */
final class Caller implements AutoCloseable {
  /** For one attempt of a call with one reply; streams take what they take. */
  private static final Duration CALL_TIMEOUT = Duration.ofMinutes(1);

  private static final Duration LONGEST_CONNECT = Duration.ofSeconds(20);
  private static final Duration SHORTEST_CONNECT = Duration.ofSeconds(1);

  private final Replicas gateway;
  private final Replicas collector;
  private final Duration giveUpAfter;
  private final Duration connectWithin;
  private final BiConsumer<PolybatchException, Duration> onRetry;
  private volatile boolean closed;

  Caller(Connection connection, BiConsumer<PolybatchException, Duration> onRetry) {
    this.giveUpAfter = connection.giveUpAfter();
    this.connectWithin =
        giveUpAfter.compareTo(LONGEST_CONNECT) > 0
            ? LONGEST_CONNECT
            : giveUpAfter.compareTo(SHORTEST_CONNECT) < 0 ? SHORTEST_CONNECT : giveUpAfter;
    this.onRetry = onRetry;
    this.gateway = replicas(Server.GATEWAY, connection);
    this.collector = replicas(Server.COLLECTOR, connection);
  }

  private static Replicas replicas(Server server, Connection connection) {
    List<Replica> all =
        connection.addresses(server).stream()
            .map(address -> new Replica(server, address, connection))
            .toList();
    return new Replicas(all, System::nanoTime, ThreadLocalRandom.current().nextInt(all.size()));
  }

  Attempts attempts(Server server) {
    return new Attempts(server);
  }

  /** One request, one reply; again while the failure is a transient one. */
  <Q, R> R unary(Server server, MethodDescriptor<Q, R> method, Q request) {
    Attempts attempts = attempts(server);
    while (true) {
      try {
        CallOptions options =
            CallOptions.DEFAULT.withDeadlineAfter(CALL_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
        Channel channel = attempts.begin();
        R reply = ClientCalls.blockingV2UnaryCall(channel, method, options, request);
        attempts.answered();
        return reply;
      } catch (StatusException failed) {
        attempts.pause(attempts.failed(failed));
      } catch (InterruptedException error) {
        throw Failures.interrupted(error);
      }
    }
  }

  @Override
  public void close() {
    closed = true;
    gateway.close();
    collector.close();
  }

  /** The attempts of one operation at one server, each at the next replica. One thread's. */
  final class Attempts {
    private final Server server;
    private final Replicas replicas;
    private final Backoff backoff =
        new Backoff(giveUpAfter, System::nanoTime, ThreadLocalRandom.current()::nextDouble);
    private Replica replica;

    private Attempts(Server server) {
      this.server = server;
      this.replicas = server == Server.GATEWAY ? gateway : collector;
    }

    /** Takes a replica for an attempt and returns its channel. */
    Channel begin() throws StatusException, InterruptedException {
      if (closed) {
        throw new IllegalStateException("the client is closed");
      }
      replica = replicas.turn();
      return replica.connect(connectWithin);
    }

    /** Something got through: waits start over. */
    void answered() {
      replicas.answered(replica);
      backoff.progress();
    }

    /** The attempt's call ended with an error; returns the exception for it. */
    PolybatchException failed(StatusException failed) {
      if (Thread.currentThread().isInterrupted()) {
        return Failures.interrupted(new InterruptedException());
      }
      PolybatchException error = Failures.of(failed, server, replica.address);
      boolean unavailable = failed.getStatus().getCode() == Status.Code.UNAVAILABLE;
      if (unavailable) {
        replicas.away(replica);
      } else {
        replicas.answered(replica);
      }
      boolean ofTheConnection = unavailable && error.reason().equals("UNAVAILABLE");
      if (ofTheConnection && !closed) {
        replica.reconnect();
      }
      return error;
    }

    /** A stream of replies ended well, but too soon; returns the exception for it. */
    PolybatchException endedEarly(String what) {
      return Failures.endedEarly(what, server, replica.address);
    }

    /** Waits before the next attempt; throws the error where none makes sense. */
    void pause(PolybatchException error) {
      pause(error, () -> false);
    }

    /**
     * @param gotThrough is asked before giving up, where that is not known otherwise
     */
    void pause(PolybatchException error, BooleanSupplier gotThrough) {
      Duration pause = backoff.beforeRetry(error).orElse(null);
      if (pause == null && backoff.timedOut() && gotThrough.getAsBoolean()) {
        backoff.progress();
        pause = backoff.beforeRetry(error).orElse(null);
      }
      if (pause == null || closed) {
        throw error;
      }
      onRetry.accept(error, pause);
      try {
        TimeUnit.NANOSECONDS.sleep(pause.toNanos());
      } catch (InterruptedException interrupt) {
        throw Failures.interrupted(interrupt);
      }
    }
  }
}

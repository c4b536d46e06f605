package io.polybatch.client;

import io.grpc.CallOptions;
import io.grpc.MethodDescriptor;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.ClientCalls;
import java.util.function.Supplier;

/** The replies of a streaming call, which is begun again where it broke. One thread's. */
final class Replies<Q, R> implements AutoCloseable {
  /** What an OK means. */
  enum Ended {
    /** All has come. */
    WHOLE,
    /** A break like any other. */
    EARLY,
    /** The next stream is to tell, at once. */
    UNCLEAR
  }

  private final MethodDescriptor<Q, R> method;
  private final Supplier<Q> request;
  private final Supplier<Ended> afterOk;
  private final String what;
  private final Caller.Attempts attempts;
  private BlockingClientCall<Q, R> call;
  private boolean ended;

  /**
   * @param request asked at each beginning: what is still to come
   * @param afterOk asked when a stream has ended with OK
   * @param what it is, for messages
   */
  Replies(
      Caller caller,
      Server server,
      MethodDescriptor<Q, R> method,
      Supplier<Q> request,
      Supplier<Ended> afterOk,
      String what) {
    this.attempts = caller.attempts(server);
    this.method = method;
    this.request = request;
    this.afterOk = afterOk;
    this.what = what;
  }

  /** The next reply; null at the end. */
  R next() {
    while (!ended) {
      try {
        if (call == null) {
          call =
              ClientCalls.blockingV2ServerStreamingCall(
                  attempts.begin(), method, CallOptions.DEFAULT, request.get());
        }
        R reply = call.read();
        if (reply != null) {
          return reply;
        }
        cancel();
        Ended how = afterOk.get();
        ended = how == Ended.WHOLE;
        if (how == Ended.EARLY) {
          attempts.pause(attempts.endedEarly(what));
        }
      } catch (StatusException failed) {
        cancel();
        attempts.pause(attempts.failed(failed));
      } catch (InterruptedException interrupt) {
        close();
        throw Failures.interrupted(interrupt);
      }
    }
    return null;
  }

  /** The reply that {@link #next} returned is worth something: the next failure is a first one. */
  void progress() {
    attempts.answered();
  }

  private void cancel() {
    if (call != null) {
      call.cancel("no more is wanted", null);
      call = null;
    }
  }

  /** Ends the stream; the service would go on sending. */
  @Override
  public void close() {
    ended = true;
    cancel();
  }
}

package io.polybatch.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import io.polybatch.client.PolybatchException.FieldViolation;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import javax.net.ssl.SSLException;

/** From a failed call to an exception, by the details of its google.rpc.Status. */
final class Failures {
  /** Reason of what TLS refuses; unlike a connection that breaks, it does not pass by itself. */
  static final String TLS_FAILED = "TLS_FAILED";

  /** Reason of a stream of replies that ended well, but too soon. */
  static final String STREAM_ENDED = "STREAM_ENDED";

  static PolybatchException of(StatusException failed, Server server, String address) {
    Status status = failed.getStatus();
    Details details = new Details(status, failed.getTrailers());
    String message = status.getDescription();
    if (message == null || message.isEmpty()) {
      message = status.getCode().name();
    }
    String reason = details.reason;
    if (reason.isEmpty()) {
      // It comes from gRPC itself, which names no server.
      String where = server.title() + " at " + address + ": ";
      reason = status.getCode().name();
      SSLException tls = tlsFailure(status.getCause());
      if (tls != null) {
        reason = TLS_FAILED;
        message =
            "%sTLS failed: %s; check the service's certificate, POLYBATCH_TLS_CA, or set POLYBATCH_TLS=0 where no TLS is spoken"
                .formatted(where, rootMessage(tls));
      } else if (status.getCode() == Status.Code.UNAVAILABLE) {
        // Of a broken connection gRPC says no more than that.
        boolean broken = message.equals("io exception") && status.getCause() != null;
        String cause = broken ? rootMessage(status.getCause()) : message;
        message =
            "%s%s; does it run there? If not, set %s".formatted(where, cause, server.variable());
      } else if (message.equals("http2 exception") && status.getCause() != null) {
        // Such as an answer of the HTTP API, or the alert of a TLS server.
        message =
            "%s%s; no gRPC is spoken there, or it is TLS: set %s to the gRPC port, or use grpcs://"
                .formatted(where, rootMessage(status.getCause()), server.variable());
      } else if (status.getCode() == Status.Code.UNIMPLEMENTED) {
        message =
            where
                + message
                + "; it may be older than this client, or check the addresses of gateway and"
                + " collector";
      } else {
        message = where + message;
      }
    }
    return new PolybatchException(
        message,
        failed,
        status.getCode(),
        reason,
        details.metadata,
        details.violations,
        details.retryAfter);
  }

  static PolybatchException endedEarly(String what, Server server, String address) {
    return new PolybatchException(
        "%s at %s: the %s ended before its time".formatted(server.title(), address, what),
        null,
        Status.Code.UNAVAILABLE,
        STREAM_ENDED,
        Map.of(),
        List.of(),
        null);
  }

  /** The thread's flag is set again, for whoever stopped it. */
  static PolybatchException interrupted(InterruptedException cause) {
    Thread.currentThread().interrupt();
    return new PolybatchException("INTERRUPTED", "the thread was interrupted", cause);
  }

  /** What a handshake failed of; null where it only broke off, as when a service is stopped. */
  private static SSLException tlsFailure(Throwable cause) {
    for (Throwable at = cause; at != null; at = at.getCause()) {
      if (at instanceof SSLException tls) {
        return rootMessage(tls).toLowerCase(Locale.ROOT).contains("closed") ? null : tls;
      }
    }
    return null;
  }

  private static String rootMessage(Throwable error) {
    Throwable root = error;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    String message = root.getMessage();
    return message == null
        ? root.getClass().getSimpleName()
        // Netty names the system call before what everybody understands, and behind it what came.
        : message
            .replaceFirst("^\\w+\\(\\.\\.\\) failed with error\\(-?\\d+\\): ", "")
            .replaceFirst(": [0-9a-f]{16,}$", "");
  }

  private static final class Details {
    String reason = "";
    Map<String, String> metadata = Map.of();
    List<FieldViolation> violations = List.of();
    Duration retryAfter;

    Details(Status status, Metadata trailers) {
      if (trailers == null) {
        return;
      }
      try {
        for (Any detail : StatusProto.fromStatusAndTrailers(status, trailers).getDetailsList()) {
          read(detail);
        }
      } catch (IllegalArgumentException | InvalidProtocolBufferException replaced) {
        // A proxy on the way has put another status in the place of the service's, or cut it:
        // the status stands for itself, whatever was read of the details.
      }
    }

    private void read(Any detail) throws InvalidProtocolBufferException {
      if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        reason = info.getReason();
        metadata = info.getMetadataMap();
      } else if (detail.is(BadRequest.class)) {
        violations = new ArrayList<>();
        for (BadRequest.FieldViolation found :
            detail.unpack(BadRequest.class).getFieldViolationsList()) {
          violations.add(new FieldViolation(found.getField(), found.getDescription()));
        }
      } else if (detail.is(RetryInfo.class)) {
        var delay = detail.unpack(RetryInfo.class).getRetryDelay();
        retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
      }
    }
  }

  private Failures() {}
}

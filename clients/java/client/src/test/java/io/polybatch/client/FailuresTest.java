package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import io.polybatch.client.PolybatchException.FieldViolation;
import java.io.IOException;
import java.net.ConnectException;
import java.security.cert.CertificateException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import javax.net.ssl.SSLHandshakeException;
import org.junit.jupiter.api.Test;

class FailuresTest {
  private static final Status REFUSED =
      Status.newBuilder()
          .setCode(Code.RESOURCE_EXHAUSTED.value())
          .setMessage("too many streams")
          .addDetails(
              Any.pack(
                  ErrorInfo.newBuilder()
                      .setReason("OPEN_UPLOADS_LIMIT")
                      .putMetadata("limit", "4")
                      .build()))
          .addDetails(
              Any.pack(
                  BadRequest.newBuilder()
                      .addFieldViolations(
                          BadRequest.FieldViolation.newBuilder()
                              .setField("line 7: body.model")
                              .setDescription("is missing"))
                      .build()))
          .addDetails(
              Any.pack(
                  RetryInfo.newBuilder()
                      .setRetryDelay(
                          com.google.protobuf.Duration.newBuilder().setNanos(250_000_000))
                      .build()))
          .build();

  @Test
  void allThatTheServiceSays() {
    var error = of(StatusProto.toStatusException(REFUSED));
    assertEquals(Optional.of(Code.RESOURCE_EXHAUSTED), error.code());
    assertEquals("OPEN_UPLOADS_LIMIT", error.reason());
    assertEquals("too many streams", error.getMessage());
    assertEquals(Map.of("limit", "4"), error.metadata());
    assertEquals(
        List.of(new FieldViolation("line 7: body.model", "is missing")), error.violations());
    assertEquals(Optional.of(Duration.ofMillis(250)), error.retryAfter());
  }

  @Test
  void aProxyHasPutAnotherStatusInItsPlace() {
    Metadata trailers = StatusProto.toStatusException(REFUSED).getTrailers();
    var error =
        of(io.grpc.Status.UNAVAILABLE.withDescription("upstream is gone").asException(trailers));
    assertEquals("UNAVAILABLE", error.reason());
    assertEquals(Optional.empty(), error.retryAfter());
    assertTrue(error.getMessage().startsWith("gateway at host:1: upstream is gone"));
  }

  @Test
  void aServiceThatDoesNotKnowTheCall() {
    var error = of(io.grpc.Status.UNIMPLEMENTED.withDescription("Method not found!").asException());
    assertEquals("UNIMPLEMENTED", error.reason());
    assertEquals(
        "gateway at host:1: Method not found!; it may be older than this client, or check the"
            + " addresses of gateway and collector",
        error.getMessage());
  }

  @Test
  void aServiceThatIsNotThere() {
    var cause =
        new ConnectException("finishConnect(..) failed with error(-111): Connection refused");
    var error = of(unreached(cause));
    assertEquals("UNAVAILABLE", error.reason());
    assertEquals(
        "gateway at host:1: Connection refused; does it run there? If not, set POLYBATCH_GATEWAY",
        error.getMessage());
  }

  @Test
  void whatSpeaksNoGrpcIsToldFromWhatIsNotThere() {
    var cause = new IOException("First received frame was not SETTINGS.");
    var failed = io.grpc.Status.INTERNAL.withDescription("http2 exception").withCause(cause);
    assertEquals(
        "gateway at host:1: First received frame was not SETTINGS.; no gRPC is spoken there, or it"
            + " is TLS: set POLYBATCH_GATEWAY to the gRPC port, or use grpcs://",
        of(failed.asException()).getMessage());
  }

  @Test
  void aCertificateIsNotAccepted() {
    var cause = new SSLHandshakeException("General OpenSslEngine problem");
    cause.initCause(new CertificateException("unable to find valid certification path"));
    var error = of(unreached(cause));
    assertEquals("TLS_FAILED", error.reason());
    assertTrue(error.getMessage().contains("unable to find valid certification path"));
  }

  @Test
  void aHandshakeThatOnlyBrokeOffPassesByItself() {
    var cause =
        new SSLHandshakeException("Connection closed while SSL/TLS handshake was in progress");
    var error = of(unreached(cause));
    assertEquals("UNAVAILABLE", error.reason());
  }

  private static StatusException unreached(Exception cause) {
    return io.grpc.Status.UNAVAILABLE
        .withDescription("io exception")
        .withCause(cause)
        .asException();
  }

  private static PolybatchException of(StatusException failed) {
    return Failures.of(failed, Server.GATEWAY, "host:1");
  }
}

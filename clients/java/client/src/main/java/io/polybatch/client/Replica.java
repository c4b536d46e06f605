package io.polybatch.client;

import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** One address of a server, and the connection to it. */
final class Replica {
  // Where there may be several machines: calls go by turns to all behind a name, and to none that
  // says that it is not serving.
  private static final Map<String, ?> SEVERAL =
      Map.of(
          "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
          "healthCheckConfig", Map.of("serviceName", ""));

  final Server server;
  final String address;
  private final ManagedChannel channel;
  private final Channel withKey;
  // Guarded by Replicas.
  int failures;
  long restsUntil;

  Replica(Server server, String address, Connection connection) {
    this.server = server;
    this.address = address;
    ManagedChannelBuilder<?> builder =
        builder(Addresses.target(address), connection)
            .keepAliveTime(30, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS)
            // Repeating is done here, where an upload knows its offset and a watch its revision.
            .disableRetry();
    if (Addresses.mayBeSeveral(address)) {
      builder.defaultServiceConfig(SEVERAL);
    }
    channel = builder.build();
    Metadata headers = new Metadata();
    headers.put(
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
        "Bearer " + connection.apiKey());
    withKey =
        ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  private static ManagedChannelBuilder<?> builder(String target, Connection connection) {
    if (!connection.tls()) {
      return Grpc.newChannelBuilder(target, InsecureChannelCredentials.create());
    }
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    try {
      if (connection.tlsCa() != null) {
        tls.trustManager(certificates(connection.tlsCa(), "POLYBATCH_TLS_CA"));
      }
      if (connection.tlsClientCert() != null) {
        tls.keyManager(
            certificates(connection.tlsClientCert(), "POLYBATCH_TLS_CLIENT_CERT"),
            new ByteArrayInputStream(PrivateKeys.pkcs8(connection.tlsClientKey())));
      }
      return Grpc.newChannelBuilder(target, tls.build());
    } catch (IOException error) {
      throw unusable("a TLS file cannot be read: " + error + "; check POLYBATCH_TLS_*", error);
    } catch (PolybatchException error) {
      throw error;
    } catch (RuntimeException error) {
      // Also gRPC's own exception, which is not public: it looks at the key now.
      throw unusable(
          "the file %s cannot be used as the key of the client's certificate: %s; name an unencrypted PEM file (POLYBATCH_TLS_CLIENT_KEY)"
              .formatted(connection.tlsClientKey(), error.getMessage()),
          error);
    }
  }

  /** gRPC would say of what is no certificate that there is no transport. */
  private static InputStream certificates(Path pem, String variable) throws IOException {
    byte[] content = Files.readAllBytes(pem);
    Exception cause = null;
    try {
      CertificateFactory factory = CertificateFactory.getInstance("X.509");
      if (!factory.generateCertificates(new ByteArrayInputStream(content)).isEmpty()) {
        return new ByteArrayInputStream(content);
      }
    } catch (CertificateException error) {
      cause = error;
    }
    throw unusable(
        "the file %s holds no certificate in PEM form; set %s".formatted(pem, variable), cause);
  }

  private static PolybatchException unusable(String message, Exception cause) {
    return new PolybatchException("TLS_FILE_UNUSABLE", message, cause);
  }

  /**
   * The channel for a call, once it is connected or has failed to; why it failed, the call says.
   *
   * @throws StatusException UNAVAILABLE: the other side does not answer at all. A stream, which has
   *     no deadline, would wait for it for ever.
   */
  Channel connect(Duration atMost) throws StatusException, InterruptedException {
    long until = System.nanoTime() + atMost.toNanos();
    ConnectivityState state = channel.getState(true);
    while (state == ConnectivityState.IDLE || state == ConnectivityState.CONNECTING) {
      CountDownLatch changed = new CountDownLatch(1);
      channel.notifyWhenStateChanged(state, changed::countDown);
      if (!changed.await(until - System.nanoTime(), TimeUnit.NANOSECONDS)) {
        throw Status.UNAVAILABLE
            .withDescription("no answer within " + atMost.toSeconds() + " s")
            .asException();
      }
      state = channel.getState(true);
    }
    return withKey;
  }

  /**
   * Forgets the connection that failed: the next call connects anew, after the wait of its own, and
   * looks the name up anew. gRPC would wait up to two minutes. Calls under way go on.
   */
  void reconnect() {
    channel.enterIdle();
  }

  void close() {
    channel.shutdownNow();
  }
}

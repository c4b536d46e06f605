package io.polybatch.client;

import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.ManagedChannelProvider.ProviderNotFoundException;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
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
    try {
      ManagedChannelBuilder<?> builder =
          Grpc.newChannelBuilder(Addresses.target(address), credentials(connection))
              .keepAliveTime(30, TimeUnit.SECONDS)
              .keepAliveTimeout(10, TimeUnit.SECONDS)
              // Repeating is done here, where an upload knows its offset and a watch its revision.
              .disableRetry();
      if (Addresses.mayBeSeveral(address)) {
        builder.defaultServiceConfig(SEVERAL);
      }
      channel = builder.build();
    } catch (IOException | IllegalArgumentException | ProviderNotFoundException error) {
      throw new PolybatchException(
          "TLS_FILE_UNUSABLE",
          "no connection can be set up to the %s at %s: %s; check the PEM files of POLYBATCH_TLS_CA, POLYBATCH_TLS_CLIENT_CERT and POLYBATCH_TLS_CLIENT_KEY"
              .formatted(server.title(), address, error.getMessage()),
          error);
    }
    Metadata headers = new Metadata();
    headers.put(
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
        "Bearer " + connection.apiKey());
    withKey =
        ClientInterceptors.intercept(
            channel, MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  private static ChannelCredentials credentials(Connection connection) throws IOException {
    if (!connection.tls()) {
      return InsecureChannelCredentials.create();
    }
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    if (connection.tlsCa() != null) {
      tls.trustManager(connection.tlsCa().toFile());
    }
    if (connection.tlsClientCert() != null) {
      tls.keyManager(connection.tlsClientCert().toFile(), connection.tlsClientKey().toFile());
    }
    return tls.build();
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
   * Forgets the connection that failed: the next call connects anew, after the wait of its own,
   * and looks the name up anew. gRPC would wait up to two minutes. Calls under way go on.
   */
  void reconnect() {
    channel.enterIdle();
  }

  void close() {
    channel.shutdownNow();
  }
}

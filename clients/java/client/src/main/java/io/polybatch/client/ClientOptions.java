package io.polybatch.client;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.function.BiConsumer;

/**
 * Where to connect, with which key, and how long to wait. What is not set here comes from the
 * environment (the variables are those of the Python client), else from defaults.
 */
public final class ClientOptions {
  final String gateway;
  final String collector;
  final String apiKey;
  final Path apiKeyFile;
  final Boolean tls;
  final Path tlsCa;
  final Path tlsClientCert;
  final Path tlsClientKey;
  final Duration giveUpAfter;
  final BiConsumer<PolybatchException, Duration> onRetry;
  final Map<String, String> environment;

  private ClientOptions(Builder from) {
    gateway = from.gateway;
    collector = from.collector;
    apiKey = from.apiKey;
    apiKeyFile = from.apiKeyFile;
    tls = from.tls;
    tlsCa = from.tlsCa;
    tlsClientCert = from.tlsClientCert;
    tlsClientKey = from.tlsClientKey;
    giveUpAfter = from.giveUpAfter;
    onRetry = from.onRetry;
    environment = Map.copyOf(from.environment);
  }

  /** Begins with nothing set. */
  public static Builder builder() {
    return new Builder();
  }

  /** Sets one option after the other; {@link #build} makes them final. */
  public static final class Builder {
    private String gateway;
    private String collector;
    private String apiKey;
    private Path apiKeyFile;
    private Boolean tls;
    private Path tlsCa;
    private Path tlsClientCert;
    private Path tlsClientKey;
    private Duration giveUpAfter;
    private BiConsumer<PolybatchException, Duration> onRetry = (error, pause) -> {};
    private Map<String, String> environment = System.getenv();

    private Builder() {}

    /**
     * {@code host:port}, {@code grpc://host:port} or {@code grpcs://host:port} (TLS); several
     * replicas separated by commas. Else {@code POLYBATCH_GATEWAY}, else what {@code
     * addresses.json} in the data folder says, else {@code localhost:50051}.
     */
    public Builder gateway(String addresses) {
      gateway = addresses;
      return this;
    }

    /** The same: {@code POLYBATCH_COLLECTOR}, {@code localhost:50052}. */
    public Builder collector(String addresses) {
      collector = addresses;
      return this;
    }

    /** Else {@code POLYBATCH_API_KEY}, else the file {@code api-key} in the data folder. */
    public Builder apiKey(String key) {
      apiKey = key;
      return this;
    }

    /** A file that holds the key. */
    public Builder apiKeyFile(Path file) {
      apiKeyFile = file;
      return this;
    }

    /** Else {@code POLYBATCH_TLS} (1 or 0), else on unless all addresses are this machine. */
    public Builder tls(boolean on) {
      tls = on;
      return this;
    }

    /** PEM file of the authority; else {@code POLYBATCH_TLS_CA}, else Java's own authorities. */
    public Builder tlsCa(Path pem) {
      tlsCa = pem;
      return this;
    }

    /** PEM files for mutual TLS; else {@code POLYBATCH_TLS_CLIENT_CERT} and {@code ..._KEY}. */
    public Builder tlsClient(Path certificate, Path key) {
      tlsClientCert = certificate;
      tlsClientKey = key;
      return this;
    }

    /**
     * How long nothing may get through before a call is given up, counted from the first failure;
     * zero: it is given up at once. Else {@code POLYBATCH_WAIT} in seconds, else two minutes.
     */
    public Builder giveUpAfter(Duration time) {
      giveUpAfter = time;
      return this;
    }

    /** Is told before each wait what went wrong and how long the wait is; called by any thread. */
    public Builder onRetry(BiConsumer<PolybatchException, Duration> listener) {
      onRetry = listener;
      return this;
    }

    /** In the place of the process's own environment. */
    public Builder environment(Map<String, String> variables) {
      environment = variables;
      return this;
    }

    /** What is set so far. */
    public ClientOptions build() {
      return new ClientOptions(this);
    }
  }
}

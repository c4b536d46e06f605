package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ConnectionTest {
  @TempDir Path folder;
  private final Map<String, String> environment = new HashMap<>();

  @BeforeEach
  void nameTheFolder() {
    environment.put("POLYBATCH_DATA_DIR", folder.toString());
  }

  @Test
  void whatRunsFromTheDataFolder() throws IOException {
    Files.writeString(
        folder.resolve("addresses.json"),
        "{\"gateway\": \"127.0.0.1:7\", \"collector\": \"127.0.0.1:8\"}");
    Files.writeString(folder.resolve("api-key"), "pb-of-the-file\n");
    var found = resolve();
    assertEquals(List.of("127.0.0.1:7"), found.gateway());
    assertEquals(List.of("127.0.0.1:8"), found.collector());
    assertEquals("pb-of-the-file", found.apiKey());
    assertFalse(found.tls());
    assertEquals(Duration.ofMinutes(2), found.giveUpAfter());
    assertFalse(found.toString().contains("pb-of-the-file"));
  }

  @Test
  void optionsGoBeforeTheEnvironmentAndThatBeforeTheFolder() throws IOException {
    Files.writeString(folder.resolve("api-key"), "pb-of-the-file");
    environment.put("POLYBATCH_API_KEY", "pb-of-the-environment");
    environment.put("POLYBATCH_GATEWAY", "grpcs://far.example:1");
    environment.put("POLYBATCH_WAIT", "0.5");
    var named = resolve();
    assertEquals("pb-of-the-environment", named.apiKey());
    assertEquals(List.of("far.example:1"), named.gateway());
    assertEquals(List.of("localhost:50052"), named.collector());
    assertEquals(true, named.tls());
    assertEquals(Duration.ofMillis(500), named.giveUpAfter());
    var given =
        Connection.resolve(
            ClientOptions.builder()
                .environment(environment)
                .apiKey("pb-given")
                .gateway("near.example:1")
                .tls(false)
                .giveUpAfter(Duration.ZERO)
                .build());
    assertEquals("pb-given", given.apiKey());
    assertEquals(List.of("near.example:1"), given.gateway());
    assertFalse(given.tls());
    assertEquals(Duration.ZERO, given.giveUpAfter());
  }

  @ParameterizedTest
  @CsvSource({
    "POLYBATCH_API_KEY, 'schlüssel', API_KEY_INVALID",
    "POLYBATCH_API_KEY, '', API_KEY_MISSING",
    "POLYBATCH_WAIT, -1, WAIT_INVALID",
    "POLYBATCH_WAIT, soon, WAIT_INVALID",
    "POLYBATCH_WAIT, 1e30, WAIT_INVALID",
    "POLYBATCH_TLS, maybe, TLS_SETTING_INVALID",
    "POLYBATCH_PORT_BASE, 65535, PORT_BASE_INVALID",
    "POLYBATCH_TLS_CLIENT_CERT, cert.pem, TLS_CLIENT_CERT_INCOMPLETE",
  })
  void whatMakesNoSense(String variable, String value, String reason) {
    environment.put("POLYBATCH_API_KEY", "pb-key");
    environment.put(variable, value);
    assertEquals(reason, assertThrows(PolybatchException.class, this::resolve).reason());
  }

  @Test
  void aFolderWhoseAddressesCannotBeRead() throws IOException {
    Files.writeString(folder.resolve("addresses.json"), "{\"gateway\": 1");
    assertEquals(
        "ADDRESSES_UNREADABLE", assertThrows(PolybatchException.class, this::resolve).reason());
  }

  @Test
  void aFileThatIsNoCertificateIsNotAServiceThatIsAway() throws IOException {
    environment.put("POLYBATCH_API_KEY", "pb-key");
    environment.put("POLYBATCH_GATEWAY", "grpcs://localhost:1");
    environment.put("POLYBATCH_TLS_CA", folder.resolve("ca.pem").toString());
    for (String content : new String[] {null, "no certificate"}) {
      if (content != null) {
        Files.writeString(folder.resolve("ca.pem"), content);
      }
      var options = ClientOptions.builder().environment(environment).build();
      var error = assertThrows(PolybatchException.class, () -> PolybatchClient.create(options));
      assertEquals("TLS_FILE_UNUSABLE", error.reason());
    }
  }

  private Connection resolve() {
    return Connection.resolve(ClientOptions.builder().environment(environment).build());
  }
}

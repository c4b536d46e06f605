package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class AddressesTest {
  @Test
  void severalReplicasEachOnce() {
    assertEquals(
        List.of("a.example:1", "b.example:2", "[::1]:3"),
        Addresses.parse(
            Server.GATEWAY, "grpcs://a.example:1/, b.example:2,a.example:1,, grpc://[::1]:3"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", ",", "host", "host:", ":1", "host:65536", "http://host:1", "a/b:1", "::1:5"})
  void whatIsNoAddress(String text) {
    var error =
        assertThrows(PolybatchException.class, () -> Addresses.parse(Server.COLLECTOR, text));
    assertEquals("ADDRESS_INVALID", error.reason());
  }

  @ParameterizedTest
  @CsvSource({
    // asked, gateway, collector, spoken
    ", localhost:1, 127.0.0.1:2, false",
    ", localhost:1, [::1]:2, false",
    ", localhost:1, far.example:2, true",
    ", grpc://far.example:1, grpc://far.example:2, false",
    ", grpcs://localhost:1, localhost:2, true",
    ", https://localhost:1, localhost:2, true",
    ", 'localhost:1,127.example:1', localhost:2, true",
    "true, localhost:1, localhost:2, true",
    "false, far.example:1, far.example:2, false",
  })
  void aKeyCrossesANetworkInTheClearOnlyWhereThatWasAskedFor(
      Boolean asked, String gateway, String collector, boolean spoken) {
    assertEquals(spoken, Addresses.tls(asked, gateway, collector));
  }

  @Test
  void settingsThatContradictEachOther() {
    var error =
        assertThrows(
            PolybatchException.class,
            () -> Addresses.tls(false, "grpcs://far.example:1", "localhost:2"));
    assertEquals("TLS_SETTING_INVALID", error.reason());
  }
}

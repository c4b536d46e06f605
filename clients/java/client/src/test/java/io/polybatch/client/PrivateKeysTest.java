package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.interfaces.ECPrivateKey;
import java.security.interfaces.ECPublicKey;
import java.security.spec.ECPoint;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PrivateKeysTest {
  // Bytes of PKCS#8 before the PKCS#1 key in it, where the modulus has 2048 bits.
  private static final int RSA_HEADER = 26;

  @TempDir Path folder;

  @ParameterizedTest
  @ValueSource(strings = {"PRIVATE KEY", "RSA PRIVATE KEY"})
  void rsa(String title) throws Exception {
    KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
    generator.initialize(2048);
    PrivateKey made = generator.generateKeyPair().getPrivate();
    byte[] encoded = made.getEncoded();
    int from = title.startsWith("RSA") ? RSA_HEADER : 0;
    Path file = write(title, Arrays.copyOfRange(encoded, from, encoded.length));
    assertEquals(made, read("RSA", file));
  }

  @Test
  void ellipticCurve() throws Exception {
    KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
    generator.initialize(256);
    KeyPair pair = generator.generateKeyPair();
    BigInteger secret = ((ECPrivateKey) pair.getPrivate()).getS();
    ECPoint point = ((ECPublicKey) pair.getPublic()).getW();
    String key =
        "30770201010420%064xa00a06082a8648ce3d030107a14403420004%064x%064x"
            .formatted(secret, point.getAffineX(), point.getAffineY());
    Path file = write("EC PRIVATE KEY", HexFormat.of().parseHex(key));
    assertEquals(secret, ((ECPrivateKey) read("EC", file)).getS());
  }

  @ParameterizedTest
  @ValueSource(strings = {"CERTIFICATE", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY"})
  void whatIsNoKey(String title) throws Exception {
    Path file = write(title, new byte[] {0x30, 3, 2, 1, 1});
    assertThrows(IllegalArgumentException.class, () -> PrivateKeys.pkcs8(file));
  }

  private Path write(String title, byte[] content) throws Exception {
    String base64 = Base64.getMimeEncoder().encodeToString(content);
    String pem = "-----BEGIN %s-----\n%s\n-----END %s-----\n".formatted(title, base64, title);
    return Files.writeString(folder.resolve("key.pem"), pem);
  }

  private static PrivateKey read(String algorithm, Path file) throws Exception {
    String pem = new String(PrivateKeys.pkcs8(file), StandardCharsets.US_ASCII);
    String base64 = pem.replaceAll("-----.*-----", "");
    return KeyFactory.getInstance(algorithm)
        .generatePrivate(new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(base64)));
  }
}

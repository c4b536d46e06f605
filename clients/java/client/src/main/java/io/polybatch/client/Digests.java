package io.polybatch.client;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** SHA-256. */
final class Digests {
  static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException error) {
      throw new AssertionError("every Java has it", error);
    }
  }

  /** Of all bytes, in hexadecimal. */
  static String of(RequestSource source) throws IOException {
    MessageDigest digest = sha256();
    byte[] buffer = new byte[1 << 16];
    try (InputStream content = source.open()) {
      int length;
      while ((length = content.read(buffer)) >= 0) {
        digest.update(buffer, 0, length);
      }
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  /** Of texts with a NUL between them, in hexadecimal. */
  static String of(String... texts) {
    byte[] joined = String.join("\0", texts).getBytes(StandardCharsets.UTF_8);
    return HexFormat.of().formatHex(sha256().digest(joined));
  }

  private Digests() {}
}

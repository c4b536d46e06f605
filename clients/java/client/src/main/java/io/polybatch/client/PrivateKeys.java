package io.polybatch.client;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Private keys in PEM files. Java takes them in PKCS#8 only ({@code BEGIN PRIVATE KEY}); OpenSSL
 * also writes RSA keys in PKCS#1 and those of elliptic curves in the form of RFC 5915, which PKCS#8
 * wraps as they are.
 */
final class PrivateKeys {
  private static final Pattern PEM =
      Pattern.compile("-----BEGIN (RSA |EC |)PRIVATE KEY-----([A-Za-z0-9+/=\\s]+)-----END");

  private static final int INTEGER = 0x02;
  private static final int OCTET_STRING = 0x04;
  private static final int SEQUENCE = 0x30;
  private static final int CURVE = 0xa0;
  private static final byte[] VERSION_0 = {INTEGER, 1, 0};
  // The object identifier rsaEncryption, with NULL for its parameters; and ecPublicKey, whose
  // parameter is the curve.
  private static final byte[] RSA = HexFormat.of().parseHex("06092a864886f70d0101010500");
  private static final byte[] EC = HexFormat.of().parseHex("06072a8648ce3d0201");

  /**
   * The key of a PEM file in PKCS#8, as PEM.
   *
   * @throws IOException the file cannot be read
   * @throws IllegalArgumentException it holds no key, or an encrypted one
   */
  static byte[] pkcs8(Path pem) throws IOException {
    Matcher found = PEM.matcher(Files.readString(pem, StandardCharsets.ISO_8859_1));
    if (!found.find()) {
      throw new IllegalArgumentException("there is no unencrypted private key in it");
    }
    byte[] key = Base64.getMimeDecoder().decode(found.group(2));
    byte[] wrapped =
        switch (found.group(1)) {
          case "RSA " -> wrap(key, RSA);
          case "EC " -> wrap(key, EC, curve(key));
          default -> key;
        };
    String base64 = Base64.getMimeEncoder().encodeToString(wrapped);
    return ("-----BEGIN PRIVATE KEY-----\n" + base64 + "\n-----END PRIVATE KEY-----\n")
        .getBytes(StandardCharsets.US_ASCII);
  }

  private static byte[] wrap(byte[] key, byte[]... algorithm) {
    return der(SEQUENCE, VERSION_0, der(SEQUENCE, algorithm), der(OCTET_STRING, key));
  }

  /** Of SEQUENCE { version, key, [0] curve, ... }. */
  private static byte[] curve(byte[] key) {
    try {
      ByteBuffer outer = ByteBuffer.wrap(key);
      ByteBuffer fields = content(outer, SEQUENCE);
      content(fields, INTEGER);
      content(fields, OCTET_STRING);
      ByteBuffer curve = content(fields, CURVE);
      byte[] identifier = new byte[curve.remaining()];
      curve.get(identifier);
      return identifier;
    } catch (BufferUnderflowException | IndexOutOfBoundsException error) {
      throw new IllegalArgumentException("the private key in it is cut short", error);
    }
  }

  /** The content of the next element, which is passed over. */
  private static ByteBuffer content(ByteBuffer in, int tag) {
    int length = 0;
    if ((in.get() & 0xff) != tag) {
      throw new IllegalArgumentException("the private key in it does not name its curve");
    }
    int first = in.get() & 0xff;
    if (first < 0x80) {
      length = first;
    } else {
      for (int at = 0; at < (first & 0x7f); at++) {
        length = length << 8 | in.get() & 0xff;
      }
    }
    ByteBuffer content = in.slice(in.position(), length);
    in.position(in.position() + length);
    return content;
  }

  private static byte[] der(int tag, byte[]... parts) {
    ByteArrayOutputStream content = new ByteArrayOutputStream();
    for (byte[] part : parts) {
      content.writeBytes(part);
    }
    ByteArrayOutputStream element = new ByteArrayOutputStream();
    element.write(tag);
    int length = content.size();
    // In as few bytes as it takes: two are enough for a key of 500,000 bits.
    if (length > 0xff) {
      element.write(0x82);
      element.write(length >> 8);
    } else if (length > 0x7f) {
      element.write(0x81);
    }
    element.write(length);
    element.writeBytes(content.toByteArray());
    return element.toByteArray();
  }

  private PrivateKeys() {}
}

package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FileSourceTest {
  @TempDir Path folder;

  @Test
  void aFileThatIsReadToItsEndHasTheSizeThatItHad() throws IOException {
    Path file = Files.write(folder.resolve("requests.jsonl"), new byte[300]);
    RequestSource source = new FileSource(file).asItIs();
    try (InputStream content = source.open()) {
      content.skipNBytes(100);
      assertEquals(200, content.readNBytes(1000).length);
    }
    for (long size : new long[] {250, 350}) {
      RequestSource before = new FileSource(file).asItIs();
      try (InputStream content = before.open()) {
        assertEquals(100, content.readNBytes(100).length);
        try (var writable = new RandomAccessFile(file.toFile(), "rw")) {
          writable.setLength(size);
        }
        assertChanged(() -> content.readNBytes(1000));
      }
      assertChanged(before::open);
    }
  }

  private static void assertChanged(org.junit.jupiter.api.function.Executable reading) {
    assertEquals("FILE_CHANGED", assertThrows(PolybatchException.class, reading).reason());
  }
}

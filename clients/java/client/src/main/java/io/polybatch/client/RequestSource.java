package io.polybatch.client;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;

/**
 * Requests as JSON lines that can be read more than once, as an upload that broke goes on where it
 * was. {@code () -> new GZIPInputStream(Files.newInputStream(path))} is one too.
 */
@FunctionalInterface
public interface RequestSource {
  /** Opens the content at its beginning; always the same content. */
  InputStream open() throws IOException;

  /** The file's name, for people; empty: it has none. */
  default String name() {
    return "";
  }

  /** A file. */
  static RequestSource of(Path file) {
    return new FileSource(file);
  }
}

package io.polybatch.client;

import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;

/** A file of requests. */
final class FileSource implements RequestSource {
  private final Path file;

  FileSource(Path file) {
    this.file = file;
  }

  @Override
  public InputStream open() throws IOException {
    return Files.newInputStream(file);
  }

  @Override
  public String name() {
    return file.getFileName().toString();
  }

  /**
   * The file as it is now, for one upload: it cannot be read any more once it has changed, as of a
   * part of it, or of parts of two files, a batch would be made.
   */
  RequestSource asItIs() throws IOException {
    Version now = Version.of(file);
    return () -> {
      if (!Version.of(file).equals(now)) {
        throw changed();
      }
      return new Whole(open(), now.size());
    };
  }

  private PolybatchException changed() {
    return new PolybatchException(
        "FILE_CHANGED", file + " was changed while it was being uploaded; submit it again", null);
  }

  private record Version(long size, FileTime modified, Object key) {
    static Version of(Path file) throws IOException {
      BasicFileAttributes found = Files.readAttributes(file, BasicFileAttributes.class);
      // What is no file has no size: a pipe, or standard input as /dev/stdin.
      long size = found.isRegularFile() ? found.size() : -1;
      return new Version(size, size < 0 ? null : found.lastModifiedTime(), found.fileKey());
    }
  }

  /** A stream that fails at its end where it was not so many bytes. */
  private final class Whole extends FilterInputStream {
    private final long size;
    private long position;

    /**
     * @param size negative: not known
     */
    Whole(InputStream content, long size) {
      super(content);
      this.size = size;
    }

    @Override
    public int read() throws IOException {
      int value = super.read();
      passed(value < 0 ? -1 : 1);
      return value;
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      int count = super.read(bytes, offset, length);
      passed(count);
      return count;
    }

    @Override
    public long skip(long count) throws IOException {
      long skipped = super.skip(count);
      position += skipped;
      return skipped;
    }

    @Override
    public boolean markSupported() {
      return false;
    }

    private void passed(int count) {
      position += Math.max(count, 0);
      if (size >= 0 && (count < 0 ? position != size : position > size)) {
        throw changed();
      }
    }
  }
}

package io.polybatch.client;

import com.google.protobuf.ByteString;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;

/** The lines of a batch's results. */
final class ResultLines extends Ahead<ResultLine> {
  private final Results results;
  // A line may span any number of chunks.
  private final ByteArrayOutputStream begun = new ByteArrayOutputStream();
  private ByteString chunk = ByteString.EMPTY;

  ResultLines(Results results) {
    this.results = results;
  }

  @Override
  ResultLine find() {
    while (true) {
      int end = indexOfNewline(chunk);
      if (end >= 0) {
        append(chunk.substring(0, end));
        chunk = chunk.substring(end + 1);
      } else {
        append(chunk);
        // Whoever asks again after an exception of what follows must not get it twice.
        chunk = ByteString.EMPTY;
        ByteString following = results.next();
        if (following != null) {
          chunk = following;
          continue;
        }
      }
      String line = begun.toString(StandardCharsets.UTF_8);
      begun.reset();
      if (!line.isEmpty()) {
        return ResultLine.parse(line);
      }
      if (end < 0) {
        return null;
      }
    }
  }

  private void append(ByteString bytes) {
    begun.writeBytes(bytes.toByteArray());
  }

  private static int indexOfNewline(ByteString bytes) {
    for (int at = 0; at < bytes.size(); at++) {
      if (bytes.byteAt(at) == '\n') {
        return at;
      }
    }
    return -1;
  }

  @Override
  public void close() {
    results.close();
  }
}

package io.polybatch.examples;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Standard output and error, in UTF-8 whatever the locale. */
final class Console {
  private final PrintStream out = stream(FileDescriptor.out);
  private final PrintStream err = stream(FileDescriptor.err);
  private boolean closed;

  /** To standard output, at once. */
  void result(String text) {
    out.println(text);
  }

  /**
   * To standard error. Ids, models and messages come from files and providers; a terminal would
   * obey them.
   */
  synchronized void say(String text) {
    if (!closed) {
      err.println(text.replaceAll("\\p{C}", "?"));
    }
  }

  /** Says what went wrong. */
  void complain(String text) {
    say("submit: " + text);
  }

  /** Nothing is said after that. */
  synchronized void close() {
    closed = true;
  }

  private static PrintStream stream(FileDescriptor descriptor) {
    return new PrintStream(new FileOutputStream(descriptor), true, StandardCharsets.UTF_8);
  }
}

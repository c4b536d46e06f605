package io.polybatch.client;

import java.util.Iterator;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * Items that come over a connection, one after the other: {@code hasNext} waits for the next one,
 * over broken connections too. Close it where it is left before its end. For one thread; another
 * one may interrupt it.
 *
 * <p>{@code hasNext} and {@code next} throw {@link PolybatchException}.
 */
public interface CloseableIterator<T> extends Iterator<T>, AutoCloseable {
  /** Ends the call behind it. May be called again. */
  @Override
  void close();

  /** The same items as a stream, which has to be closed in its place. */
  default Stream<T> stream() {
    int traits = Spliterator.ORDERED | Spliterator.NONNULL;
    return StreamSupport.stream(Spliterators.spliteratorUnknownSize(this, traits), false)
        .onClose(this::close);
  }
}

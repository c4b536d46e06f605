package io.polybatch.client;

import java.util.NoSuchElementException;

/** An iterator over what a method finds, until it finds nothing. */
abstract class Ahead<T> implements CloseableIterator<T> {
  private T ahead;

  /** The next item; null at the end, as often as it is asked then. */
  abstract T find();

  @Override
  public final boolean hasNext() {
    if (ahead == null) {
      ahead = find();
    }
    return ahead != null;
  }

  @Override
  public final T next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    T found = ahead;
    ahead = null;
    return found;
  }
}

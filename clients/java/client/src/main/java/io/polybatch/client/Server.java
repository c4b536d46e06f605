package io.polybatch.client;

import java.util.Locale;

/** The two public services. */
enum Server {
  GATEWAY,
  COLLECTOR;

  /** As in messages. */
  String title() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The environment variable of its addresses. */
  String variable() {
    return "POLYBATCH_" + name();
  }
}

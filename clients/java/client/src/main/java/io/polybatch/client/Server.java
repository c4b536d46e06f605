package io.polybatch.client;

/** The two public services. */
enum Server {
  GATEWAY,
  COLLECTOR;

  /** As in messages. */
  String title() {
    return name().toLowerCase(java.util.Locale.ROOT);
  }

  /** The environment variable of its addresses. */
  String variable() {
    return "POLYBATCH_" + name();
  }
}

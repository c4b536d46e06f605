package io.polybatch.client;

import io.grpc.Status;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What a service refused, or what could not be done.
 *
 * <p>{@link #reason()} is what a program decides by. It is the service's own word, such as {@code
 * INVALID_LINES}; where a call failed without one, the name of gRPC's status, such as {@code
 * UNAVAILABLE}; else one of this client: {@code ADDRESS_INVALID}, {@code ADDRESSES_UNREADABLE},
 * {@code API_KEY_MISSING}, {@code API_KEY_INVALID}, {@code PORT_BASE_INVALID}, {@code
 * TLS_SETTING_INVALID}, {@code TLS_CLIENT_CERT_INCOMPLETE}, {@code TLS_FILE_UNUSABLE}, {@code
 * TLS_FAILED}, {@code WAIT_INVALID}, {@code STREAM_ENDED}, {@code UPLOAD_TRUNCATED}, {@code
 * HEADER_MISSING}, {@code DIGEST_MISMATCH}, {@code RESULT_UNREADABLE}, {@code INTERRUPTED}.
 *
 * <p>What passes by itself has been tried again before it is thrown.
 */
public final class PolybatchException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /**
   * One thing that is wrong with a request.
   *
   * @param field of a file's line, {@code line 7: body.model}; else the path of the request's field
   * @param description for people: what is wrong and what was expected
   */
  public record FieldViolation(String field, String description) implements Serializable {}

  private final Status.Code code;
  private final String reason;
  private final Map<String, String> metadata;
  private final List<FieldViolation> violations;
  private final Duration retryAfter;

  PolybatchException(
      String message,
      Throwable cause,
      Status.Code code,
      String reason,
      Map<String, String> metadata,
      List<FieldViolation> violations,
      Duration retryAfter) {
    super(message, cause);
    this.code = code;
    this.reason = reason;
    this.metadata = Map.copyOf(metadata);
    this.violations = List.copyOf(violations);
    this.retryAfter = retryAfter;
  }

  /** Of this client's own making. */
  PolybatchException(String reason, String message, Throwable cause) {
    this(message, cause, null, reason, Map.of(), List.of(), null);
  }

  /** What the call ended with; empty where no call was involved. */
  public Optional<Status.Code> code() {
    return Optional.ofNullable(code);
  }

  /** Machine code in upper case; never empty. */
  public String reason() {
    return reason;
  }

  /** What the service said beside the reason: ids, sizes, counts. */
  public Map<String, String> metadata() {
    return metadata;
  }

  /** The first 20 at most; the message says how many there are. */
  public List<FieldViolation> violations() {
    return violations;
  }

  /** How long the service asks to wait before the same is tried again. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  /** The message with the reason behind it. */
  @Override
  public String toString() {
    return getClass().getName() + ": " + getMessage() + " (" + reason + ")";
  }
}

package io.polybatch.client;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;

/**
 * One line of the results.
 *
 * @param json the whole line as it came; {@code protos/polybatch/v1/results.proto} tells its form
 * @param customId as in the input; empty where the line had none that could be read
 * @param statusCode HTTP status of the provider's answer; 0 where there was none
 * @param body the provider's answer in OpenAI's form, as JSON; null where there was none
 * @param errorCode machine code of a line that failed; null where it succeeded
 * @param errorMessage for people; null where the line succeeded
 */
public record ResultLine(
    String json,
    String customId,
    int statusCode,
    String body,
    String errorCode,
    String errorMessage) {

  /** Whether the line was answered. */
  public boolean succeeded() {
    return errorCode == null;
  }

  /**
   * @throws PolybatchException RESULT_UNREADABLE
   */
  static ResultLine parse(String json) {
    try {
      JsonObject line = JsonParser.parseString(json).getAsJsonObject();
      JsonObject response = object(line, "response");
      JsonObject error = object(line, "error");
      int status = response == null ? 0 : response.get("status_code").getAsInt();
      boolean succeeded = error == null && status >= 200 && status < 300;
      return new ResultLine(
          json,
          text(line, "custom_id", ""),
          status,
          response == null ? null : response.get("body").toString(),
          succeeded ? null : text(error, "code", status > 0 ? "http_" + status : "unknown_error"),
          succeeded ? null : text(error, "message", "the provider answered with status " + status));
    } catch (JsonParseException
        | IllegalStateException
        | ClassCastException
        | NullPointerException
        | NumberFormatException error) {
      throw new PolybatchException(
          "RESULT_UNREADABLE",
          "a line of the results cannot be read: " + error.getMessage(),
          error);
    }
  }

  private static JsonObject object(JsonObject parent, String name) {
    JsonElement found = parent.get(name);
    return found == null || found.isJsonNull() ? null : found.getAsJsonObject();
  }

  private static String text(JsonObject parent, String name, String otherwise) {
    JsonElement found = parent == null ? null : parent.get(name);
    String text = found == null || found.isJsonNull() ? "" : found.getAsString();
    return text.isEmpty() ? otherwise : text;
  }
}

package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ResultLineTest {
  @Test
  void anAnswer() {
    var line =
        ResultLine.parse(
            """
            {"custom_id": "a", "response": {"status_code": 200, "body": {"n": 9007199254740993}}, "error": null}\
            """);
    assertTrue(line.succeeded());
    assertEquals("a", line.customId());
    assertEquals("{\"n\":9007199254740993}", line.body());
    assertNull(line.errorMessage());
  }

  @Test
  void aLineThatNeverRan() {
    var line =
        ResultLine.parse(
            """
            {"custom_id": null, "response": null, "error": {"code": "batch_expired", "message": "too late"}}\
            """);
    assertFalse(line.succeeded());
    assertEquals("", line.customId());
    assertEquals(0, line.statusCode());
    assertNull(line.body());
    assertEquals("batch_expired", line.errorCode());
    assertEquals("too late", line.errorMessage());
  }

  @Test
  void aRefusalWithoutAWordOfItsOwn() {
    var line =
        ResultLine.parse(
            """
            {"custom_id": "a", "response": {"status_code": 429, "body": {}}, "error": null}\
            """);
    assertEquals("http_429", line.errorCode());
    assertEquals("the provider answered with status 429", line.errorMessage());
  }

  @ParameterizedTest
  @ValueSource(strings = {"{", "[]", "1", "{\"response\": {}}", "{\"response\": 7}"})
  void whatIsNoResult(String json) {
    var error = assertThrows(PolybatchException.class, () -> ResultLine.parse(json));
    assertEquals("RESULT_UNREADABLE", error.reason());
  }
}

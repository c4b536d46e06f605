"""The rows of OpenAI's result files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from polybatch.models.results import ResultLine as Shown

from core.batchfile import answer_line
from core.prices.usage import Usage
from core.providers.contract import Outcome
from core.providers.openai.rows import read_row


def row(response: Any, error: Any = None, **fields: Any) -> bytes:
    made = {"id": "batch_req_1", "custom_id": "s-t-1", "response": response, "error": error}
    return json.dumps(made | fields).encode()


def answered(status: Any, body: Any) -> dict[str, Any]:
    return {"status_code": status, "request_id": "r", "body": body}


CHAT_USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 3, "of_tomorrow": {}},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


def refused(kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": "m", "type": kind, "param": None, "code": code}}


def said(content: Any = "hello", finish: Any = "stop", **message: Any) -> dict[str, Any]:
    answer = {"role": "assistant", "content": content} | message
    return {"choices": [{"index": 0, "message": answer, "finish_reason": finish}]}


def failed(response: Any, error: Any = None) -> tuple[Outcome, str, str]:
    """Outcome, code and message of a row that failed; the SDK has to call it failed as well."""
    line = read_row(row(response, error))
    assert line.outcome is not Outcome.SUCCEEDED
    assert line.error is not None
    told = json.loads(line.error)
    assert told.keys() == {"code", "message"}
    assert told["code"]
    assert told["message"]
    assert not Shown.parse(answer_line("b", 1, "c", line.response, line.error)).ok
    return line.outcome, told["code"], told["message"]


GOOD = [
    said(),
    said(""),
    said("cut", "length"),
    said(None, "tool_calls", tool_calls=[{"id": "c", "type": "function"}]),
    said(None, "function_call", function_call={"name": "f"}),
    said(None, "stop", refusal="I can't."),
    said(None, "stop", audio={"id": "a"}),
    said(None, "content_filter"),
    said(None, "length"),
    said("text", "a_reason_of_tomorrow"),
    said("text", None),
    said([{"type": "text", "text": "of Mistral"}]),
    said() | {"error": None},
    {"object": "text_completion", "choices": [{"text": "", "finish_reason": "stop"}]},
    {"object": "list", "data": [{"object": "embedding", "embedding": [0.1]}]},
    {"object": "list", "data": [{"object": "embedding", "embedding": "AAAA"}]},
    {"created": 1, "data": [{"b64_json": "AAAA"}]},
    {"id": "modr", "results": [{"flagged": False}]},
    {"object": "response", "status": "completed", "error": None, "output": [{"type": "message"}]},
    {
        "object": "response",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [],
    },
]


@pytest.mark.parametrize("body", GOOD)
def test_answers(body: dict[str, Any]) -> None:
    response = answered(200, body)
    line = read_row(row(response))
    assert (line.outcome, line.error) == (Outcome.SUCCEEDED, None)
    assert json.loads(line.response or b"") == response


BAD_GATEWAY = {"code": 502, "message": "Provider returned error"}
NOT_BELIEVED = [
    ({}, Outcome.FAILED, "empty_answer"),
    (None, Outcome.FAILED, "empty_answer"),
    ("text", Outcome.FAILED, "empty_answer"),
    ([], Outcome.FAILED, "empty_answer"),
    ({"choices": []}, Outcome.FAILED, "empty_answer"),
    ({"choices": None}, Outcome.FAILED, "empty_answer"),
    ({"choices": [{}]}, Outcome.FAILED, "empty_answer"),
    ({"choices": ["text"]}, Outcome.FAILED, "empty_answer"),
    ({"choices": [{"message": None, "finish_reason": "stop"}]}, Outcome.FAILED, "empty_answer"),
    (said(None), Outcome.FAILED, "empty_answer"),
    (said([]), Outcome.FAILED, "empty_answer"),
    (said(None, "a_reason_of_tomorrow"), Outcome.FAILED, "empty_answer"),
    (said(None, "tool_calls", tool_calls=[]), Outcome.FAILED, "empty_answer"),
    (said("half", "error"), Outcome.FAILED, "error"),
    (said("half", "abort"), Outcome.FAILED, "abort"),
    ({"data": []}, Outcome.FAILED, "empty_answer"),
    ({"data": [{"embedding": []}]}, Outcome.FAILED, "empty_answer"),
    ({"data": [{"embedding": None}]}, Outcome.FAILED, "empty_answer"),
    ({"results": []}, Outcome.FAILED, "empty_answer"),
    ({"object": "response", "status": "completed", "output": []}, Outcome.FAILED, "empty_answer"),
    ({"object": "response", "status": "cancelled", "output": []}, Outcome.FAILED, "cancelled"),
    (refused("invalid_request_error", "bad_thing"), Outcome.FAILED, "bad_thing"),
    (refused("server_error"), Outcome.RETRYABLE, "server_error"),
    (refused("requests", "rate_limit_exceeded"), Outcome.RETRYABLE, "rate_limit_exceeded"),
    ({"error": {"code": 429, "message": "m"}}, Outcome.RETRYABLE, "429"),
    ({"error": {"code": "503", "message": "m"}}, Outcome.RETRYABLE, "503"),
    ({"error": {"code": 400, "message": "m"}}, Outcome.FAILED, "400"),
    ({"error": "the model crashed"}, Outcome.FAILED, "provider_error"),
    ({"error": {"a": 1}}, Outcome.FAILED, "provider_error"),
    (said() | {"error": BAD_GATEWAY}, Outcome.RETRYABLE, "502"),
    ({"choices": [{"error": BAD_GATEWAY, "finish_reason": "error"}]}, Outcome.RETRYABLE, "502"),
    (
        {"object": "error", "message": "m", "type": "BadRequestError", "code": 400},
        Outcome.FAILED,
        "BadRequestError",
    ),
    ({"object": "error", "message": "m", "code": 500}, Outcome.RETRYABLE, "500"),
    ({"detail": "no such thing"}, Outcome.FAILED, "provider_error"),
    (
        {
            "object": "response",
            "status": "failed",
            "error": {"code": "server_error", "message": "m"},
            "output": [],
        },
        Outcome.RETRYABLE,
        "server_error",
    ),
]


@pytest.mark.parametrize(("body", "outcome", "code"), NOT_BELIEVED)
def test_answers_that_are_not_believed(body: Any, outcome: Outcome, code: str) -> None:
    assert failed(answered(200, body))[:2] == (outcome, code)
    assert json.loads(read_row(row(answered(200, body))).response or b"")["body"] == body


def test_what_a_body_says_of_its_failure_is_told() -> None:
    assert failed(answered(200, {"error": BAD_GATEWAY}))[2] == "Provider returned error"
    crashed = answered(200, {"error": "the model crashed"})
    assert failed(crashed)[2] == "the model crashed"
    # The row says what its response does not.
    told = {"code": "content_lost", "message": "gone"}
    assert failed(answered(200, None), told) == (Outcome.FAILED, "content_lost", "gone")


@pytest.mark.parametrize(
    ("status", "body", "outcome", "code"),
    [
        (400, refused("invalid_request_error", "too_long"), Outcome.FAILED, "too_long"),
        (404, refused("invalid_request_error"), Outcome.FAILED, "invalid_request_error"),
        (408, {}, Outcome.RETRYABLE, "http_408"),
        (409, {}, Outcome.RETRYABLE, "http_409"),
        (429, refused("requests", "rate_limit_exceeded"), Outcome.RETRYABLE, "rate_limit_exceeded"),
        (500, "<html>", Outcome.RETRYABLE, "http_500"),
        (503, None, Outcome.RETRYABLE, "http_503"),
        (302, {"a": 1}, Outcome.FAILED, "http_302"),
    ],
)
def test_refusals(status: int, body: Any, outcome: Outcome, code: str) -> None:
    assert failed(answered(status, body))[:2] == (outcome, code)
    assert json.loads(read_row(row(answered(status, body))).response or b"") == answered(
        status, body
    )


@pytest.mark.parametrize("status", [None, 0, "", "odd", True, -1, 1e300])
def test_an_answer_without_a_status_is_one(status: Any) -> None:
    """It was paid for, and is not paid again."""
    line = read_row(row(answered(status, said() | {"usage": CHAT_USAGE})))
    assert (line.outcome, line.error, line.usage.output) == (Outcome.SUCCEEDED, None, 20)
    shown = Shown.parse(answer_line("b", 1, "c", line.response, line.error))
    assert shown.ok
    assert shown.text == "hello"
    bare = read_row(row({"body": said()}))
    assert bare.outcome is Outcome.SUCCEEDED
    # What has cost tokens was run, though there is no answer.
    spent = said(None) | {"usage": CHAT_USAGE}
    assert failed(answered(status, spent))[:2] == (Outcome.FAILED, "empty_answer")
    for nothing in (None, {}, "", {"choices": []}):
        assert failed(answered(status, nothing))[:2] == (Outcome.RETRYABLE, "no_answer")
    assert failed(answered(status, refused("x", "bad_thing")))[:2] == (Outcome.FAILED, "bad_thing")
    expired = {"code": "batch_expired", "message": "m"}
    assert failed(answered(status, None), expired)[:2] == (Outcome.EXPIRED, "batch_expired")


@pytest.mark.parametrize("status", ["200", 200.0])
def test_a_status_in_another_form_is_read(status: Any) -> None:
    line = read_row(row(answered(status, said())))
    assert line.outcome is Outcome.SUCCEEDED
    assert Shown.parse(answer_line("b", 1, "c", line.response, line.error)).ok


def test_a_response_is_kept_byte_for_byte() -> None:
    response = (
        b'{"status_code" : 200,"body":{"n":1.0,"m":12345678901234567890,"t":"\\u00e9\xc3\xa9",'
        b'"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}}'
    )
    line = read_row(b'{"custom_id":"s-t-1","response": ' + response + b' ,"error":null}')
    assert line.response == response


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (CHAT_USAGE, Usage(input=10, cached_input=3, output=20, reasoning=4)),
        (
            {
                "input_tokens": 10,
                "output_tokens": 20,
                "input_tokens_details": {"cached_tokens": 3},
                "output_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(input=10, cached_input=3, output=20, reasoning=4),
        ),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),
        (None, Usage()),
        ("lots", Usage()),
        ({"prompt_tokens": None, "prompt_tokens_details": 5, "completion_tokens": 1.5}, Usage()),
    ],
)
def test_usage_of_rows(usage: Any, expected: Usage) -> None:
    """Of answers and of failures alike: both were paid for."""
    for body in (said(), {}, refused("server_error")):
        assert read_row(row(answered(200, body | {"usage": usage}))).usage == expected
    assert read_row(row(answered(500, {"usage": usage}))).usage == expected


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        ({"code": "batch_expired", "message": "m"}, Outcome.EXPIRED, "batch_expired"),
        ({"code": "batch_cancelled", "message": "m"}, Outcome.CANCELLED, "batch_cancelled"),
        ({"code": "request_timeout", "message": "m"}, Outcome.RETRYABLE, "request_timeout"),
        ({"code": "of_tomorrow", "message": "m"}, Outcome.FAILED, "of_tomorrow"),
        ({"code": 5}, Outcome.RETRYABLE, "no_answer"),
        ({"code": 400, "message": "m"}, Outcome.FAILED, "400"),
        (None, Outcome.RETRYABLE, "no_answer"),
        ("odd", Outcome.RETRYABLE, "no_answer"),
    ],
)
@pytest.mark.parametrize("response", [None, "odd", [], 5])
def test_rows_without_a_response(response: Any, error: Any, outcome: Outcome, code: str) -> None:
    line = read_row(row(response, error))
    assert (line.outcome, line.response) == (outcome, None)
    assert line.error is not None
    assert json.loads(line.error)["code"] == code


def test_a_row_with_the_least_of_fields() -> None:
    assert read_row(b'{"custom_id":"s-t-1"}').custom_id == "s-t-1"
    assert read_row(row(None, id=7)).custom_id == "s-t-1"


def searched(action: Any, status: str = "completed") -> dict[str, Any]:
    return {"type": "web_search_call", "id": "ws_1", "status": status, "action": action}


@pytest.mark.parametrize(
    ("output", "searches"),
    [
        pytest.param(
            [
                searched({"type": "search", "query": "a"}),
                searched({"type": "open_page", "url": "https://example.com"}),
                searched({"type": "find_in_page", "url": "https://example.com", "pattern": "b"}),
                searched({"type": "search", "queries": ["c"]}),
                searched({"type": "search", "query": "d"}, "failed"),
                {"type": "message", "content": []},
            ],
            2,
            id="searches, and what is done with the pages",
        ),
        pytest.param([{"type": "web_search_call", "id": "ws_1"}], 1, id="the first tool"),
        pytest.param([{"type": "message", "content": []}, "odd"], 0, id="none"),
    ],
)
def test_searches_are_counted_by_the_output(output: list[Any], searches: int) -> None:
    usage = {"input_tokens": 8, "output_tokens": 4, "output_tokens_details": {}}
    body = {"object": "response", "status": "completed", "output": output, "usage": usage}
    line = read_row(row(answered(200, body)))
    assert line.usage == Usage(input=8, output=4, web_searches=searches)

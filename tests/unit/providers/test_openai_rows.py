"""The rows of OpenAI's result files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.providers.contract import Outcome, Usage
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


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answered(200, {"usage": CHAT_USAGE}), Outcome.SUCCEEDED),
        (answered(299, {}), Outcome.SUCCEEDED),
        (answered(200, None), Outcome.FAILED),
        (answered(200, "text"), Outcome.FAILED),
        (answered(400, refused("invalid_request_error", "unsupported_value")), Outcome.FAILED),
        (answered(404, refused("invalid_request_error")), Outcome.FAILED),
        (answered(408, {}), Outcome.RETRYABLE),
        (answered(409, {}), Outcome.RETRYABLE),
        (answered(429, refused("requests", "rate_limit_exceeded")), Outcome.RETRYABLE),
        (answered(500, "<html>"), Outcome.RETRYABLE),
        (answered(503, None), Outcome.RETRYABLE),
        (answered(0, None), Outcome.RETRYABLE),
        (answered(None, None), Outcome.RETRYABLE),
        (answered("200", {}), Outcome.RETRYABLE),
        ({}, Outcome.RETRYABLE),
    ],
)
def test_rows_with_a_response(response: Any, outcome: Outcome) -> None:
    line = read_row(row(response))
    assert (line.outcome, line.error, line.provider_line_id) == (outcome, None, "batch_req_1")
    assert line.response is not None
    assert json.loads(line.response) == response


def test_a_response_is_kept_byte_for_byte() -> None:
    response = (
        b'{"status_code" : 200,"body":{"n":1.0,"m":12345678901234567890,"t":"\\u00e9\xc3\xa9"}}'
    )
    line = read_row(b'{"custom_id":"s-t-1","response": ' + response + b' ,"error":null}')
    assert line.response == response


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (CHAT_USAGE, Usage(10, 3, 20, 4)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),
        (None, Usage()),
        ("lots", Usage()),
        ({"prompt_tokens": None, "prompt_tokens_details": 5, "completion_tokens": 1.5}, Usage()),
    ],
)
def test_usage_of_rows(usage: Any, expected: Usage) -> None:
    assert read_row(row(answered(200, {"usage": usage}))).usage == expected


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        ({"code": "batch_expired", "message": "m"}, Outcome.EXPIRED, "batch_expired"),
        ({"code": "batch_cancelled", "message": "m"}, Outcome.CANCELLED, "batch_cancelled"),
        ({"code": "request_timeout", "message": "m"}, Outcome.RETRYABLE, "request_timeout"),
        ({"code": "of_tomorrow", "message": "m"}, Outcome.FAILED, "of_tomorrow"),
        ({"code": 5}, Outcome.RETRYABLE, "no_answer"),
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
    line = read_row(b'{"custom_id":"s-t-1"}')
    assert (line.custom_id, line.provider_line_id) == ("s-t-1", "")
    assert read_row(row(None, id=None)).provider_line_id == ""

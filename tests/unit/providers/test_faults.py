"""What the error answers of providers say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.providers.provider_errors import ErrorAnswer, is_transient, parse_retry_after, read_error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, None),
        (
            {
                "retry-after": "Mon, 23 Nov 2026 11:00:20 GMT",
                "date": "Mon, 23 Nov 2026 11:00:00 GMT",
            },
            20.0,
        ),
        (
            {
                "retry-after": "Mon, 23 Nov 2026 13:00:20 GMT",
                "date": "Mon, 23 Nov 2026 13:00:00 GMT",
            },
            20.0,
        ),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT", "date": "today"}, 30.0),
        ({"retry-after": "3, 3"}, 3.0),
        ({"retry-after": "3,5"}, 5.0),
        ({"retry-after": "4, soon"}, 4.0),
        ({"retry-after-ms": "250, 500", "retry-after": "9"}, 0.5),
        ({"retry-after": ", ".join(2 * ["Mon, 23 Nov 2026 12:00:30 GMT"])}, 30.0),
        ({"retry-after": "7, Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "x", "retry-after": "3"}, 3.0),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    now = 1795435200.0  # 2026-11-23 12:00:00 UTC
    assert parse_retry_after(headers, now=now) == seconds


GOOGLE = {
    "code": 429,
    "message": "Quota exceeded",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"},
    ],
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"error": {"message": "m", "type": "requests", "param": None, "code": "rate"}},
            ErrorAnswer("rate", "m", True),
        ),
        (
            {"error": {"message": "m", "type": "invalid_request_error", "param": "endpoint"}},
            ErrorAnswer("invalid_request_error", "m (endpoint)", True),
        ),
        (
            {"type": "error", "error": {"type": "api_error", "message": "m"}, "request_id": "r"},
            ErrorAnswer("api_error", "m", True),
        ),
        ({"error": GOOGLE}, ErrorAnswer("RESOURCE_EXHAUSTED", "Quota exceeded", True, 34.5, 429)),
        ([{"error": GOOGLE}], ErrorAnswer("RESOURCE_EXHAUSTED", "Quota exceeded", True, 34.5, 429)),
        ({"error": {"code": "429", "message": "m"}}, ErrorAnswer("", "m", True, None, 429)),
        ({"error": {"code": 200, "message": "m"}}, ErrorAnswer("", "m", True)),
        ({"object": "error", "message": "m", "code": 400}, ErrorAnswer("", "m", status=400)),
        ({"error": {"type": "api_error"}}, ErrorAnswer("api_error", "api_error", True)),
        ({"error": {}}, ErrorAnswer()),
        ({"error": "bad gateway"}, ErrorAnswer("", "bad gateway")),
        ({"error": {"message": " \n", "type": "t"}}, ErrorAnswer("t", "", True)),
        ({"error": {"message": "", "param": "n"}}, ErrorAnswer("", "no message (n)", True)),
        ({"message": "m", "code": "c"}, ErrorAnswer("c", "m")),
        ({"detail": "m"}, ErrorAnswer("", "m")),
        ({"detail": [{"loc": []}]}, ErrorAnswer()),
        ({"detail": [{"loc": ["body"], "msg": "m"}, {}]}, ErrorAnswer("", "m")),
        ([], ErrorAnswer()),
        (None, ErrorAnswer()),
        ("text", ErrorAnswer()),
        ({"error": {"message": 5, "code": 5, "details": 5}}, ErrorAnswer()),
    ],
)
def test_errors_in_every_form(body: Any, expected: ErrorAnswer) -> None:
    assert read_error(json.dumps(body).encode()) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_errors_in_no_form(body: bytes) -> None:
    assert read_error(body) == ErrorAnswer()


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, "invalid_request_error", False),
        (400, "token_limit_exceeded", True),
        (400, "too_many_tasks", False),
        (402, "billing_error", True),
        (403, "", False),
        (408, "", True),
        (409, "", True),
        (413, "request_too_large", False),
        (429, "", True),
        (499, "CANCELLED", True),
        (500, "", True),
        (529, "overloaded_error", True),
        (0, "request_timeout", True),
    ],
)
def test_what_passes(status: int, code: str, transient: bool) -> None:
    assert is_transient(status, code) is transient

"""The `error` of a failed line: {"code", "message"}, whatever the provider's answer looks like."""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.provider_errors import ErrorAnswer, error_in

EMPTY_ANSWER = "empty_answer"
"""The provider answered, and well by its status, but there is no answer in it."""
UNREADABLE_ANSWER = "unreadable_answer"
"""The provider answered in a form that nobody knows."""
NO_ANSWER = "no_answer"
"""The provider gave neither an answer nor an error."""
RESULT_MISSING = "result_missing"
"""Whether the provider has run the line is not known: it may have been paid for."""
PROVIDER_ERROR = "provider_error"
"""The provider gave an error without a code."""

NO_REASON = "The provider gave no reason."
# The whole of it stays in the response.
_MESSAGE_CHARS = 2000
_CODE_CHARS = 100


class _Response(msgspec.Struct):
    status_code: Any = None
    body: Any = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Response).decode


def line_error(code: str, message: str) -> bytes:
    """JSON: {"code", "message"}, neither of them empty, nor the code twice."""
    message = message.strip()
    if message == code:
        message = ""
    return _encode(
        {
            "code": code[:_CODE_CHARS] or PROVIDER_ERROR,
            "message": message[:_MESSAGE_CHARS] or NO_REASON,
        }
    )


def code_of(found: ErrorAnswer, status: int = 0) -> str:
    """The code of an error that came with an HTTP status; 0 or 2xx: the status says nothing."""
    if found.code:
        return found.code
    if found.status:
        return str(found.status)
    return f"http_{status}" if status and not 200 <= status < 300 else PROVIDER_ERROR


def told_error(found: ErrorAnswer, status: int) -> bytes:
    """The error of a line that was answered with an error."""
    return line_error(
        code_of(found, status),
        found.message or f"The provider answered with status {status} and gave no reason.",
    )


def error_of(response: bytes | None) -> bytes:
    """The error that a failed line's response tells, for adapters that give none themselves.

    `response`: JSON, as ResultLine.response.
    """
    if response is None:
        return line_error(
            NO_ANSWER, "The provider gave neither a response nor an error for this line."
        )
    try:
        found = _decode(response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line_error(UNREADABLE_ANSWER, "The provider's answer cannot be read.")
    status = found.status_code if isinstance(found.status_code, int) else 0
    return told_error(error_in(found.body), status)

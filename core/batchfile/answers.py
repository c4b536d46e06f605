"""The line of a result file, as the user gets it.

    {"id", "custom_id", "response": {"status_code", "request_id", "body"} | null,
     "error": {"code", "message"} | null, "attempts"}

The form is that of OpenAI's batch output file, whatever the provider; `attempts` is ours:
how often the line was sent to its provider.
"""

from __future__ import annotations

import msgspec

_NULL = b"null"
_encode = msgspec.json.Encoder().encode


def answer_line(
    batch_id: str,
    line: int,
    custom_id: str,
    response: bytes | None,
    error: bytes | None,
    *,
    attempts: int = 0,
) -> bytes:
    """Make one result line, without newline.

    `response` and `error` are JSON ready to be written; `line` is the 1-based number of
    the input line, which makes the id stable however often the line was run.
    """
    return b"".join(
        (
            answer_head(batch_id, line, custom_id),
            answer_tail(response, error, attempts),
        )
    )


def answer_head(batch_id: str, line: int, custom_id: str) -> bytes:
    """The part of a result line that does not come from the provider."""
    return b'{"id":"%s-%d","custom_id":%s,' % (batch_id.encode(), line, _encode(custom_id))


def answer_tail(response: bytes | None, error: bytes | None, attempts: int) -> bytes:
    """The part of a result line that comes from the provider, without newline."""
    return b'"response":%s,"error":%s,"attempts":%d}' % (
        response or _NULL,
        error or _NULL,
        attempts,
    )


def error_json(code: str, message: str) -> bytes:
    """The `error` of a line that was not run."""
    return _encode({"code": code, "message": message})

"""The line of a result file, as the user gets it.

    {"id", "custom_id", "model", "response": {"status_code", "request_id", "body"} | null,
     "error": {"code", "message"} | null, "attempts"}

The form is that of OpenAI's batch output file, whatever the provider. Of a line that failed
`error` is never null, also beside a response. Three keys are ours:
`model`, the one that was asked for (lines that failed the check at upload lack it);
`attempts`, how often the line was sent to its provider; and, only where a lenient
translation left something out, `dropped`, the paths of that.
"""

from __future__ import annotations

import msgspec

RESULT_MISSING = "result_missing"
"""The code of a line that its provider gave no result for: it may have been run and paid for."""

_NULL = b"null"
_encode = msgspec.json.Encoder().encode


def answer_line(
    batch_id: str,
    line: int,
    custom_id: str,
    response: bytes | None,
    error: bytes | None,
    *,
    model: str = "",
    attempts: int = 0,
) -> bytes:
    """Make one result line, without newline.

    `response` and `error` are JSON ready to be written; `line` is the 1-based number of
    the input line, which makes the id stable however often the line was run. `model`
    as named in the file; empty where it cannot be told.
    """
    return b"".join(
        (
            answer_head(batch_id, line, custom_id, model),
            answer_tail(response, error, attempts),
        )
    )


def answer_head(
    batch_id: str, line: int, custom_id: str, model: str = "", dropped: bytes | None = None
) -> bytes:
    """The part of a result line that does not come from the provider.

    `model` as named in the file; `dropped`: JSON, a list of paths.
    """
    return b'{"id":"%s-%d","custom_id":%s,%s%s' % (
        batch_id.encode(),
        line,
        _encode(custom_id),
        b'"model":%s,' % _encode(model) if model else b"",
        b'"dropped":%s,' % dropped if dropped else b"",
    )


def answer_tail(response: bytes | None, error: bytes | None, attempts: int) -> bytes:
    """The part of a result line that comes from the provider, without newline."""
    return b'"response":%s,"error":%s,"attempts":%d}' % (
        response or _NULL,
        error or _NULL,
        attempts,
    )


def error_json(code: str, message: str) -> bytes:
    """The `error` of a line that failed."""
    return _encode({"code": code, "message": message})

"""The rows of OpenAI's result files, output and error file alike (fact sheet, section 8)."""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.contract import Outcome, ResultLine, Usage
from core.providers.parsing import count_of
from core.providers.provider_errors import is_transient
from core.providers.result_lines import UnreadableLine

Loose = str | list[Any] | int | float | bool | None
"""Anything but an object: a field in an odd form must not cost the line."""


NULL = msgspec.Raw(b"null")


class _Row(msgspec.Struct):
    custom_id: str
    id: str | None = None
    response: msgspec.Raw = NULL
    error: Any = None


class _Usage(msgspec.Struct):
    # Chat completions and embeddings.
    prompt_tokens: Any = 0
    completion_tokens: Any = 0
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    # Responses.
    input_tokens: Any = 0
    output_tokens: Any = 0
    input_tokens_details: Any = None
    output_tokens_details: Any = None


class _Body(msgspec.Struct):
    usage: _Usage | Loose = None
    error: Any = None


class _Response(msgspec.Struct):
    status_code: Any = None
    body: _Body | Loose = None


_row = msgspec.json.Decoder(_Row)
_response = msgspec.json.Decoder(_Response | Loose)
_encoder = msgspec.json.Encoder()

_NOT_RUN = {
    "batch_expired": Outcome.EXPIRED,
    "batch_cancelled": Outcome.CANCELLED,
    "batch_canceled": Outcome.CANCELLED,
}


def read_row(line: bytes) -> ResultLine:
    """Read one row. Raises UnreadableLine if it is not JSON or names no custom_id."""
    try:
        row = _row.decode(line)
        response = _response.decode(row.response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableLine from None
    if isinstance(response, _Response):
        return _answered(row, response, bytes(row.response))
    return _not_run(row)


def _answered(row: _Row, response: _Response, raw: bytes) -> ResultLine:
    status = response.status_code if isinstance(response.status_code, int) else 0
    body = response.body
    usage = Usage()
    if isinstance(body, _Body) and isinstance(body.usage, _Usage):
        usage = _tokens(body.usage)
    if 200 <= status < 300 and isinstance(body, _Body):
        outcome = Outcome.SUCCEEDED
    # Users saw status 0: the provider got no answer from its own server.
    elif status == 0 or is_transient(status, _code(body)):
        outcome = Outcome.RETRYABLE
    else:
        outcome = Outcome.FAILED
    return ResultLine(row.custom_id, outcome, row.id or "", raw, None, usage)


def _not_run(row: _Row) -> ResultLine:
    error = row.error if isinstance(row.error, dict) else {}
    code = error.get("code")
    message = error.get("message")
    code = code if isinstance(code, str) and code else "no_answer"
    if not isinstance(message, str):
        message = "The provider gave neither a response nor an error for this line."
    outcome = _NOT_RUN.get(code, Outcome.FAILED)
    if outcome is Outcome.FAILED and (code == "no_answer" or is_transient(0, code)):
        outcome = Outcome.RETRYABLE
    written = _encoder.encode({"code": code, "message": message})
    return ResultLine(row.custom_id, outcome, row.id or "", None, written)


def _code(body: _Body | Loose) -> str:
    if isinstance(body, _Body) and isinstance(body.error, dict):
        code = body.error.get("code") or body.error.get("type")
        return code if isinstance(code, str) else ""
    return ""


def _tokens(usage: _Usage) -> Usage:
    return Usage(
        input=count_of(usage.prompt_tokens) or count_of(usage.input_tokens),
        cached_input=_part(
            usage.prompt_tokens_details or usage.input_tokens_details, "cached_tokens"
        ),
        output=count_of(usage.completion_tokens) or count_of(usage.output_tokens),
        reasoning=_part(
            usage.completion_tokens_details or usage.output_tokens_details, "reasoning_tokens"
        ),
    )


def _part(details: Any, name: str) -> int:
    return count_of(details.get(name)) if isinstance(details, dict) else 0

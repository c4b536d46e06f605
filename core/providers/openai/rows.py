"""The rows of OpenAI's result files, output and error file alike (fact sheet, section 8)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from core.providers.contract import Outcome, ResultLine
from core.providers.line_errors import NO_ANSWER, code_of, line_error, told_error
from core.providers.openai.answers import (
    Body,
    Fault,
    Loose,
    error_beside,
    find_fault,
    is_plain,
    tokens_of,
)
from core.providers.provider_errors import error_in, is_transient
from core.providers.result_lines import UnreadableLine

NULL = msgspec.Raw(b"null")


class _Row(msgspec.Struct, gc=False):
    custom_id: str
    response: msgspec.Raw = NULL
    error: Any = None


class _Response(msgspec.Struct, gc=False):
    status_code: Any = None
    body: Body | Loose = None


class _Parts(msgspec.Struct, gc=False):
    """A response once more, for its body as it came."""

    request_id: Any = None
    body: msgspec.Raw = NULL


_row = msgspec.json.Decoder(_Row)
_response = msgspec.json.Decoder(_Response | Loose)
_parts = msgspec.json.Decoder(_Parts)
_encode = msgspec.json.Encoder().encode

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
        if type(response) is not _Response:
            return _without_response(row)
        status, body = response.status_code, response.body
        if type(status) is int and 200 <= status < 300 and type(body) is Body and is_plain(body):
            usage, raw = tokens_of(body), bytes(row.response)
            return ResultLine(row.custom_id, Outcome.SUCCEEDED, raw, None, usage)
        return _examined(row, response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableLine from None


def _examined(row: _Row, response: _Response) -> ResultLine:
    """A row whose answer is not of the common kind."""
    body, status = response.body, _status(response.status_code)
    usage = tokens_of(body)
    if status and not 200 <= status < 300:
        return _refused(row, response, status)
    fault = find_fault(body, row.response)
    # Users saw status 0 or none: the provider got no answer from its own server. What has cost
    # tokens was run, and is not paid again.
    lost = not status and not (usage.input or usage.output)
    if fault is not None and not fault.stated:
        own = _row_error(row)
        if own.code != NO_ANSWER:
            # The row says what its response does not.
            if lost:
                return _without_response(row)
            fault = Fault(own.code, own.message, own.outcome is Outcome.RETRYABLE)
        elif lost:
            fault = Fault(own.code, own.message, transient=True)
    outcome, error = Outcome.SUCCEEDED, None
    if fault is not None:
        outcome = Outcome.RETRYABLE if fault.transient else Outcome.FAILED
        error = line_error(fault.code, fault.message)
    shown = status or (200 if fault is None else 0)
    return ResultLine(row.custom_id, outcome, _shown(row, response, shown), error, usage)


def _refused(row: _Row, response: _Response, status: int) -> ResultLine:
    """A row that was answered with a status that is none of success."""
    body = response.body
    if isinstance(body, Body) and body.error:
        found = error_in({"error": body.error})
    else:
        found = error_beside(row.response)
    if not found.message and row.error:
        found = error_in({"error": row.error})
    transient = is_transient(status, found.code)
    return ResultLine(
        row.custom_id,
        Outcome.RETRYABLE if transient else Outcome.FAILED,
        _shown(row, response, status),
        told_error(found, status),
        tokens_of(body),
    )


class _RowError(NamedTuple):
    """What a row's own error says."""

    code: str
    message: str
    outcome: Outcome


def _row_error(row: _Row) -> _RowError:
    found = error_in({"error": row.error})
    code = code_of(found) if found.code or found.status else NO_ANSWER
    outcome = _NOT_RUN.get(code, Outcome.FAILED)
    if outcome is Outcome.FAILED and (code == NO_ANSWER or is_transient(found.status, found.code)):
        outcome = Outcome.RETRYABLE
    message = found.message or "The provider gave neither a response nor an error for this line."
    return _RowError(code, message, outcome)


def _without_response(row: _Row) -> ResultLine:
    own = _row_error(row)
    error = line_error(own.code, own.message)
    return ResultLine(row.custom_id, own.outcome, None, error)


def _status(given: Any) -> int:
    """An HTTP status, however it is written; 0 for none."""
    if isinstance(given, str) and len(given) == 3 and given.isdecimal():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return 0
    return int(given) if 100 <= given < 600 else 0


def _shown(row: _Row, response: _Response, status: int) -> bytes:
    """The response as it came, but for a status that is no number or none."""
    if type(response.status_code) is int and response.status_code == status:
        return bytes(row.response)
    parts = _parts.decode(row.response)
    request_id = parts.request_id if isinstance(parts.request_id, str) else ""
    return b'{"status_code":%d,"request_id":%b,"body":%b}' % (
        status,
        _encode(request_id),
        bytes(parts.body),
    )

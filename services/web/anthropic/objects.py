"""The engine's messages as Anthropic's objects. Times are RFC 3339, in UTC."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from polybatch.models import ResultFilter
from polybatch.v1 import batches_pb2

from core.endpoints import MESSAGES
from services.web.anthropic.messages import Lossy, message_of
from services.web.ids import ResultsFile, shown_message_batch

_CANCELLING = batches_pb2.BATCH_STATE_CANCELLING
_ENDED = (
    batches_pb2.BATCH_STATE_COMPLETED,
    batches_pb2.BATCH_STATE_FAILED,
    batches_pb2.BATCH_STATE_EXPIRED,
    batches_pb2.BATCH_STATE_CANCELLED,
)
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_KNOWN_TYPES = frozenset({*_ERROR_TYPES.values(), "api_error"})
_UNRUN = {"batch_cancelled": "canceled", "batch_expired": "expired"}
# Codes of lines without a response that say nothing against the request: a program that reads
# invalid_request_error takes it for one that has to be changed.
_TYPES_OF_CODES = {
    "billing_error": "cost_limit insufficient_quota billing_hard_limit_reached",
    "rate_limit_error": "rate_limit_exceeded",
    "authentication_error": "invalid_api_key",
    "api_error": "canary_failed failure_limit result_missing results_expired provider_error "
    "server_error provider_not_configured provider_batch_failed upload_failed upload_too_slow "
    "unreachable input_file_missing empty_answer no_answer unknown_result unreadable_answer",
}
_TYPE_OF_CODE = {code: kind for kind, codes in _TYPES_OF_CODES.items() for code in codes.split()}


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Response(msgspec.Struct):
    status_code: int = 0
    request_id: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.encode


def has_ended(batch: batches_pb2.Batch) -> bool:
    """Whether nothing more happens to it."""
    return batch.state in _ENDED


def message_batch(batch: batches_pb2.Batch, base_url: str) -> dict[str, Any]:
    """A MessageBatch. `base_url`: where the client found us, with the API's own prefix."""
    shown, counts = shown_message_batch(batch.id), batch.request_counts
    ended = has_ended(batch)
    settled = counts.succeeded + counts.failed + counts.cancelled + counts.expired
    ended_at = next(
        (
            _time(getattr(batch, name))
            for name in ("completed_at", "failed_at", "expired_at", "cancelled_at")
            if batch.HasField(name)
        ),
        None,
    )
    deleted = bool(batch.deleted_results)
    results = ended and batch.state != batches_pb2.BATCH_STATE_FAILED and not deleted
    return {
        "id": shown,
        "type": "message_batch",
        "processing_status": (
            "ended" if ended else "canceling" if batch.state == _CANCELLING else "in_progress"
        ),
        "request_counts": {
            "processing": counts.total - settled,
            "succeeded": counts.succeeded,
            "errored": counts.failed,
            "canceled": counts.cancelled,
            "expired": counts.expired,
        },
        "created_at": _time(batch.created_at),
        "expires_at": _time(batch.expires_at),
        "ended_at": ended_at,
        "cancel_initiated_at": (
            _time(batch.cancelling_at) if batch.HasField("cancelling_at") else None
        ),
        "archived_at": _archived_at(batch) or ended_at if deleted else None,
        "results_url": f"{base_url}/v1/messages/batches/{shown}/results" if results else None,
    }


def _archived_at(batch: batches_pb2.Batch) -> str | None:
    """When its time was over; None where results were deleted before: nobody keeps when."""
    if not batch.HasField("results_expire_at"):
        return None
    kept_until = batch.results_expire_at.ToDatetime(tzinfo=UTC)
    return _time(batch.results_expire_at) if kept_until <= datetime.now(UTC) else None


async def result_lines(
    chunks: AsyncGenerator[bytes, None], batch: batches_pb2.Batch
) -> AsyncGenerator[bytes, None]:
    """The engine's results in Anthropic's form, some lines at a time, in the input's order."""
    as_line = partial(_result_line, batch)
    rest = b""
    async with aclosing(chunks):
        async for chunk in chunks:
            whole, newline, tail = chunk.rpartition(b"\n")
            if not newline:
                rest += chunk
                continue
            lines = (rest + whole).split(b"\n")
            rest = tail
            yield b"".join(map(as_line, lines))
    if rest:
        yield as_line(rest)


def _result_line(batch: batches_pb2.Batch, raw: bytes) -> bytes:
    line = _decode(raw)
    return _encode({"custom_id": line.custom_id, "result": _result(batch, line)}) + b"\n"


def _result(batch: batches_pb2.Batch, line: _Line) -> dict[str, Any]:
    error, response = line.error, line.response
    if error is None and response is not None:
        if batch.endpoint == MESSAGES:
            return {"type": "succeeded", "message": response.body}
        try:
            return {"type": "succeeded", "message": message_of(response.body)}
        except Lossy as lossy:
            shown = ResultsFile(batch.id, ResultFilter.SUCCEEDED).shown
            error = _Error(
                "invalid_request_error",
                f"The answer is there, but Anthropic's form has no place for its {lossy}: read it "
                f"at /v1/files/{shown}/content.",
            )
    code = error.code if error is not None else ""
    if code in _UNRUN:
        return {"type": _UNRUN[code]}
    status = response.status_code if response is not None else 0
    kind = code if code in _KNOWN_TYPES else _ERROR_TYPES.get(status, "api_error")
    if response is None and code not in _KNOWN_TYPES:
        # All else lies in the request.
        kind = _TYPE_OF_CODE.get(code, "invalid_request_error")
    return {
        "type": "errored",
        "error": {
            "type": "error",
            "error": {"type": kind, "message": error.message if error is not None else ""},
            "request_id": response.request_id if response is not None else None,
        },
    }


def _time(moment: Any) -> str:
    return str(moment.ToDatetime(tzinfo=UTC).isoformat())

"""Interceptor: turns what handlers raise into a google.rpc.Status.

This is the only place that aborts an RPC. Sizes: gRPC drops trailers over 8 KiB at
random and over 16 KiB always, replacing the status by RESOURCE_EXHAUSTED; details stay
under 4 KiB, which is 5.4 KiB in base64.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from core.serving.api_error import ApiError
from core.serving.interceptor import CallInterceptor, Context, Proceed

log = structlog.get_logger()

DOMAIN = "polybatch"

_MAX_DETAILS_BYTES = 4096
_MAX_VIOLATIONS = 20
_MAX_MESSAGE_BYTES = 768
_MAX_VALUE_BYTES = 256


class ErrorsInterceptor(CallInterceptor):
    """ApiError keeps its code and gets its details; all else is masked as INTERNAL."""

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        try:
            return await proceed()
        except ApiError as error:
            answer = error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # By gRPC, because the client is gone: there is nobody to answer.
                raise
            # Raised from within; left alone, the client would wait until its deadline.
            answer = _mask(method, error)
        except grpc.aio.UsageError as error:
            answer = _mask(method, error)
        except grpc.aio.BaseError:
            # gRPC's own, such as a write to a client that has just left, or an abort.
            raise
        except Exception as error:  # noqa: BLE001 - logged there; the client gets a reference only
            answer = _mask(method, error)
        status = to_status(answer)
        await context.abort(
            answer.code,
            status.message,
            (("grpc-status-details-bin", status.SerializeToString()),),
        )


def _mask(method: str, error: BaseException) -> ApiError:
    reference = uuid.uuid4().hex
    log.error("rpc_failed", method=method, reference=reference, exc_info=error)
    return ApiError(
        grpc.StatusCode.INTERNAL,
        "INTERNAL",
        f"internal error, reference {reference}",
        metadata={"reference": reference},
    )


def to_status(error: ApiError) -> Status:
    """The google.rpc.Status of an error, under 4 KiB whatever the error holds."""
    status = Status(code=error.code.value[0], message=_cut(error.message, _MAX_MESSAGE_BYTES))
    info = ErrorInfo(domain=DOMAIN, reason=error.reason)
    for key, value in list(error.metadata.items())[:8]:
        info.metadata[key] = _cut(value, _MAX_VALUE_BYTES)
    if len(error.violations) > _MAX_VIOLATIONS:
        info.metadata["violation_count"] = str(len(error.violations))
    _append(status, info)
    if error.retry_after is not None:
        wait = Duration()
        wait.FromMilliseconds(max(0, round(error.retry_after * 1000)))
        _append(status, RetryInfo(retry_delay=wait))
    if error.violations:
        _append(status, _bad_request(error.violations, _MAX_DETAILS_BYTES - status.ByteSize() - 64))
    return status


def _bad_request(violations: list[tuple[str, str]], budget: int) -> BadRequest:
    """The first violations, at most 20, each with an equal share of `budget` bytes."""
    sent = violations[:_MAX_VIOLATIONS]
    # 12: tags and lengths of the violation and its two fields.
    share = budget // len(sent) - 12
    bad_request = BadRequest()
    for field, description in sent:
        path = _cut(field, share // 3)
        bad_request.field_violations.add(
            field=path, description=_cut(description, share - len(path.encode()))
        )
    return bad_request


def _append(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _cut(text: str, limit: int) -> str:
    """Cut to at most `limit` bytes of UTF-8."""
    raw = text.encode(errors="replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode(errors="ignore") + "…"

"""What clients see of what handlers raise."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from polybatch.v1 import files_pb2
from structlog.testing import capture_logs

from core.serving import ApiError
from tests.integration.serving.conftest import Running, Serve
from tests.support.gateway.running import refused

SECRET = "postgresql://admin:hunter2@db.internal/polybatch"


def raising(error: BaseException) -> Any:
    async def handler(request: Any, context: Any) -> Any:
        raise error

    return handler


def streaming_then_raising(error: BaseException) -> Any:
    async def handler(request: Any, context: Any) -> Any:
        yield files_pb2.DownloadFileResponse()
        raise error

    return handler


async def call_to_its_end(running: Running, kind: str) -> None:
    if kind == "unary":
        await running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
    else:
        async for _ in running.files.DownloadFile(
            files_pb2.DownloadFileRequest(), metadata=running.auth
        ):
            pass


def rich(error: grpc.aio.AioRpcError) -> Status:
    blob = dict(error.trailing_metadata())["grpc-status-details-bin"]
    return Status.FromString(blob)


def detail(status: Status, kind: Any) -> Any:
    for each in status.details:
        found = kind()
        if each.Unpack(found):
            return found
    raise AssertionError(f"no {kind.DESCRIPTOR.name} in the status")


async def test_a_typed_error_arrives_with_its_details(serve: Serve) -> None:
    error = ApiError.failed_precondition(
        "WRITE_OFFSET_MISMATCH", "continue at 42", metadata={"committed_size": "42"}
    )
    running = await serve(get=raising(error))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "continue at 42"
    info = detail(rich(caught.value), ErrorInfo)
    assert (info.domain, info.reason) == ("polybatch", "WRITE_OFFSET_MISMATCH")
    assert dict(info.metadata) == {"committed_size": "42"}


async def test_retry_info_says_how_long_to_wait(serve: Serve) -> None:
    running = await serve(get=raising(ApiError.unavailable("AWAY", "away", retry_after=1.25)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert detail(rich(caught.value), RetryInfo).retry_delay.ToMilliseconds() == 1250


@pytest.mark.parametrize("text", ["x" * 2000, "ü" * 2000, "行" * 2000])
async def test_five_hundred_violations_still_give_invalid_argument(serve: Serve, text: str) -> None:
    error = ApiError.invalid_argument(
        "INVALID_LINES",
        text,
        violations=[(f"line 17.body.{text}", text)] * 500,
        metadata={"file_id": text},
    )
    running = await serve(get=raising(error))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rich(caught.value)
    assert len(detail(status, BadRequest).field_violations) == 20
    assert status.ByteSize() < 4096
    assert detail(status, ErrorInfo).metadata["violation_count"] == "500"


async def test_few_violations_arrive_whole(serve: Serve) -> None:
    error = ApiError.invalid_argument("INVALID_FIELD", "bad", violations=[("page_size", "1..1000")])
    running = await serve(get=raising(error))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
    (violation,) = detail(rich(caught.value), BadRequest).field_violations
    assert (violation.field, violation.description) == ("page_size", "1..1000")


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_an_unforeseen_error_is_masked_by_a_reference(serve: Serve, kind: str) -> None:
    error = RuntimeError(f"cannot connect to {SECRET}")
    running = await serve(get=raising(error), download=streaming_then_raising(error))
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
        await call_to_its_end(running, kind)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in repr(caught.value)
    info = detail(rich(caught.value), ErrorInfo)
    assert info.reason == "INTERNAL"
    reference = info.metadata["reference"]
    assert reference in (caught.value.details() or "")
    (logged,) = [entry for entry in logs if entry["event"] == "rpc_failed"]
    assert logged["reference"] == reference
    assert logged["exc_info"] is error


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_stray_cancellederror_ends_the_call(serve: Serve, kind: str) -> None:
    error = asyncio.CancelledError()
    running = await serve(get=raising(error), download=streaming_then_raising(error))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call_to_its_end(running, kind), 5)
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_a_handler_that_catches_everything_cannot_swallow_an_error(serve: Serve) -> None:
    """Handlers do not abort, so an `except Exception` of theirs meets no abort."""
    cleaned = asyncio.Event()

    async def upload(requests: Any, context: Any) -> Any:
        try:
            async for _ in requests:
                raise ApiError.aborted("UPLOAD_CONFLICT", "another stream writes this upload")
        finally:
            cleaned.set()

    running = await serve(upload=upload)
    call = running.files.UploadFile(
        iter([files_pb2.UploadFileRequest(chunk=b"x")] * 3), metadata=running.auth
    )
    assert (await refused(call)).code is grpc.StatusCode.ABORTED
    assert cleaned.is_set()


async def test_a_method_nobody_implements_is_unimplemented(serve: Serve) -> None:
    running = await serve()
    call = running.channel.unary_unary("/polybatch.v1.FileService/NoSuchMethod")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", metadata=running.auth)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

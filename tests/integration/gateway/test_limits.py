"""An account at its limits, over real gRPC and over two gateways."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest
from polybatch import AsyncClient, LimitExceeded, PolybatchError
from polybatch.v1 import files_pb2

from core.serving.rate_limit import RateLimiter
from tests.support.gateway.running import (
    FINISH,
    SEGMENT,
    Caller,
    Failure,
    Gateway,
    StartGateway,
    lines,
    refused,
)


async def open_upload(caller: Caller, upload_id: str) -> Any:
    """An upload that is surely open: a segment of it is committed."""
    stream = caller.stream()
    spec = files_pb2.UploadSpec(upload_id=upload_id)
    await stream.write(files_pb2.UploadFileRequest(spec=spec))
    await stream.write(files_pb2.UploadFileRequest(chunk=lines(1, size=SEGMENT * 2)))
    async with asyncio.timeout(20):
        while not await caller.committed(upload_id):
            pass
    return stream


async def finished(stream: Any) -> Any:
    await stream.write(FINISH)

    async def reply() -> Any:
        return await stream

    return await asyncio.wait_for(reply(), 20)


async def test_open_uploads_are_counted_over_gateways(start_gateway: StartGateway) -> None:
    one, other = [await start_gateway(account_open_uploads=1) for _ in range(2)]
    stream = await open_upload(one, "upload-1")
    failure = await refused(other.upload(lines(1), upload_id="upload-2"))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.reason == "OPEN_UPLOADS_LIMIT"
    assert failure.message == ("the account has 1 uploads open, of 1 at a time: finish one first")
    assert failure.metadata == {"limit": "1", "used": "1"}
    assert failure.retry_after == 5
    assert (await (await other.another_account()).upload(lines(1))).file.line_count == 1
    await finished(stream)
    assert (await other.upload(lines(1), upload_id="upload-2")).file.line_count == 1


async def test_a_broken_upload_gives_its_place_back(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(account_open_uploads=1)
    stream = await open_upload(gateway, "upload-1")
    stream.cancel()
    reason = "OPEN_UPLOADS_LIMIT"
    async with asyncio.timeout(60):
        # The gateway hears of the break a little later.
        while reason == "OPEN_UPLOADS_LIMIT":
            reason = await reason_of(gateway.upload(lines(1), upload_id="upload-2"))
    assert not reason


async def reason_of(call: Any) -> str:
    """What a call was refused for; empty if it was not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return Failure(error).reason
    return ""


async def test_bytes_over_the_limit_are_kept_for_when_there_is_room(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(account_bytes=5 * SEGMENT)
    first = (await gateway.upload(lines(1, size=3 * SEGMENT))).file
    content = lines(1, size=4 * SEGMENT)
    failure = await refused(gateway.upload(content, upload_id="upload-2"))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "STORED_BYTES_LIMIT",
    )
    assert failure.metadata["limit"] == str(5 * SEGMENT)
    assert failure.retry_after == 60
    committed = await gateway.committed("upload-2")
    assert 0 < committed <= 2 * SEGMENT
    await gateway.delete(first.id)
    resumed = await gateway.upload(content, upload_id="upload-2", offset=committed)
    assert resumed.file.bytes == len(content)


async def test_batches_in_flight(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(account_batches=1)
    file = (await gateway.upload(lines(1))).file
    batch = await gateway.create(file.id, request_id="r-1")
    failure = await refused(gateway.create(file.id))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "BATCHES_LIMIT",
    )
    assert failure.retry_after == 30
    assert (await gateway.create(file.id, request_id="r-1")).id == batch.id, "made before"
    submitted = await refused(gateway.submit(lines(1)))
    assert submitted.reason == "BATCHES_LIMIT"


async def test_calls_a_second(start_gateway: StartGateway) -> None:
    # A tenth of a call a second, so one at once.
    gateway = await start_gateway(account_requests_per_second=0.1)
    assert (await refused(gateway.get_file("file_x"))).reason == "FILE_NOT_FOUND"
    failure = await refused(gateway.get_file("file_x"))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "REQUEST_RATE_LIMIT",
    )
    assert failure.retry_after is not None
    assert 0 < failure.retry_after <= 10
    other = await gateway.another_account()
    assert (await refused(other.get_file("file_x"))).reason == "FILE_NOT_FOUND"
    await gateway.health_becomes(True)


async def client_of(gateway: Gateway, waits: list[tuple[str, float]]) -> AsyncClient:
    return AsyncClient(
        gateway=gateway.settings.gateway_listen,
        api_key_file=gateway.settings.api_key_file,
        on_retry=lambda error, wait: waits.append((error.reason, wait)),
    )


async def test_the_client_waits_as_long_as_it_is_told(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[tuple[str, float]] = []
    # Time that passes by waiting alone: on a slow machine the uploads themselves take seconds.
    limiter = partial(RateLimiter, clock=lambda: sum(wait for _, wait in waits))
    monkeypatch.setattr("core.serving.rate_limit.RateLimiter", limiter)
    gateway = await start_gateway(account_requests_per_second=1)
    async with await client_of(gateway, waits) as client:
        # Ten at once, then one a second.
        files = await asyncio.gather(*(client.upload(lines(1)) for _ in range(12)))
    assert len({file.id for file in files}) == 12
    assert {reason for reason, _ in waits} == {"REQUEST_RATE_LIMIT"}
    assert all(wait > 0 for _, wait in waits)


async def test_the_client_does_not_wait_for_what_only_its_user_can_do(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(account_bytes=SEGMENT)
    waits: list[tuple[str, float]] = []
    async with await client_of(gateway, waits) as client:
        with pytest.raises(LimitExceeded) as caught:
            await client.upload(lines(1, size=2 * SEGMENT))
    assert isinstance(caught.value, PolybatchError)
    assert not waits
    assert "polybatch files delete" in str(caught.value)
    assert f"of {SEGMENT}" in str(caught.value)

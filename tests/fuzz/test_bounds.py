"""The bounds of one process: reached, refused with the next step, and free again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from polybatch.v1 import files_pb2, files_pb2_grpc

from core.serving import ConcurrencyLimits, GrpcServer, Principal
from core.serving.api_error import ApiError
from core.serving.concurrency import ConcurrencyInterceptor
from core.serving.principal import calling
from core.settings import Settings
from services.gateway.minimum_throughput import MinimumThroughput
from tests.fuzz.suite_thread import Ended, ended
from tests.support.gateway.running import line, running_gateway

PATIENCE = 30.0
SPEC = files_pb2.UploadFileRequest(spec=files_pb2.UploadSpec(upload_id="trickle-upload"))


async def failure(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, PATIENCE)
    return ended(caught.value)


def trickle(settings: Settings) -> tuple[Ended, int]:
    """One byte each time: never silent for long, and never done. Gives the bytes as well.

    Without asyncio, where a write that meets the end takes the server's status away:
    https://github.com/grpc/grpc/issues/36066.
    """
    over = threading.Event()
    sent = 0

    def messages() -> Iterator[files_pb2.UploadFileRequest]:
        nonlocal sent
        yield SPEC
        while not over.wait(0.05):
            sent += 1
            yield files_pb2.UploadFileRequest(chunk=b"x")

    key = settings.api_key_file.read_text().strip()
    with grpc.insecure_channel(settings.gateway_listen) as channel:
        call = files_pb2_grpc.FileServiceStub(channel).UploadFile.future(
            messages(), metadata=[("authorization", f"Bearer {key}")], timeout=PATIENCE
        )
        call.add_done_callback(lambda _: over.set())
        return ended(call.exception()), sent


async def test_an_upload_that_trickles_is_ended_and_can_be_resumed(
    make_hostile_settings: Any,
) -> None:
    # Long enough for no pause of a busy machine to look like silence.
    settings = make_hostile_settings(upload_idle_timeout=2, upload_min_rate=1000.0)
    async with running_gateway(settings, ["openai"]) as gateway:
        found, sent = await asyncio.to_thread(trickle, settings)
        assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_TOO_SLOW")
        assert "resume" in found.message
        assert 0 < await gateway.committed("trickle-upload") <= sent


async def test_a_bound_on_uploads_is_told_with_the_setting_and_a_time(
    make_hostile_settings: Any,
) -> None:
    settings = make_hostile_settings(max_uploads=2)
    async with running_gateway(settings, ["openai"]) as gateway:
        open_calls = []
        for number in range(2):
            call = gateway.stream()
            spec = files_pb2.UploadSpec(upload_id=f"held-open-{number}")
            await call.write(files_pb2.UploadFileRequest(spec=spec))
            # Large enough to be stored at once, which shows that the call has its place.
            await call.write(files_pb2.UploadFileRequest(chunk=b"x" * 512 * 1024))
            open_calls.append(call)
        await until_committed(gateway, "held-open-0", "held-open-1")
        found = await failure(gateway.upload(line() + b"\n"))
        assert (found.code, found.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_UPLOADS",
        )
        assert found.retry_after
        assert "POLYBATCH_MAX_UPLOADS" in found.message
        # Other calls have places of their own.
        assert await gateway.committed("held-open-0")
        for call in open_calls:
            await call.write(files_pb2.UploadFileRequest(finish=True))
            await asyncio.wait_for(call, PATIENCE)
        assert (await gateway.upload(line() + b"\n")).file.id


async def until_committed(gateway: Any, *upload_ids: str) -> None:
    async with asyncio.timeout(PATIENCE):
        for upload_id in upload_ids:
            while not await gateway.committed(upload_id):
                pass


class Held(files_pb2_grpc.FileServiceServicer):
    """Holds GetFile until it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.let_go = asyncio.Event()

    async def GetFile(self, request: Any, context: Any) -> files_pb2.File:
        self.entered.release()
        await self.let_go.wait()
        return files_pb2.File(id=request.file_id)

    def register(self, server: grpc.aio.Server) -> list[str]:
        files_pb2_grpc.add_FileServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        return ["polybatch.v1.FileService"]


async def serve_held(limits: ConcurrencyLimits) -> tuple[Held, GrpcServer]:
    held = Held()
    server = GrpcServer(
        "127.0.0.1:0", name="held", authenticate=None, register=held.register, limits=limits
    )
    await server.start()
    return held, server


@pytest.fixture
async def held() -> AsyncIterator[tuple[Held, GrpcServer]]:
    handler, server = await serve_held(
        ConcurrencyLimits(calls=3, connections=2, streams_per_connection=2)
    )
    yield handler, server
    handler.let_go.set()
    await server.stop(0.1)


def channel_to(server: GrpcServer) -> grpc.aio.Channel:
    # Without this, channels to one address share one connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options)


async def test_calls_over_the_bound_are_refused_and_streams_over_it_wait(
    held: tuple[Held, GrpcServer],
) -> None:
    handler, server = held
    async with channel_to(server) as one, channel_to(server) as two:
        stubs = [files_pb2_grpc.FileServiceStub(channel) for channel in (one, two)]
        waiting = [
            asyncio.ensure_future(stubs[0].GetFile(files_pb2.GetFileRequest(file_id=str(number))))
            for number in range(3)
        ]
        waiting.append(asyncio.ensure_future(stubs[1].GetFile(files_pb2.GetFileRequest())))
        for _ in range(3):
            await asyncio.wait_for(handler.entered.acquire(), PATIENCE)
        # Two of the first connection's three calls and the second's one are here.
        found = await failure(stubs[1].GetFile(files_pb2.GetFileRequest()))
        assert (found.reason, found.code.name) == ("TOO_MANY_CALLS", "RESOURCE_EXHAUSTED")
        assert found.retry_after
        handler.let_go.set()
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)


async def test_connections_over_the_bound_are_closed(held: tuple[Held, GrpcServer]) -> None:
    handler, server = held
    handler.let_go.set()
    streams = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    for reader, _ in streams:
        # gRPC's settings: the connection was let in.
        assert await asyncio.wait_for(reader.read(9), PATIENCE)
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
    for _, writer in streams:
        writer.close()


async def test_pings_without_end_close_the_connection(held: tuple[Held, GrpcServer]) -> None:
    _, server = held
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    settings_frame = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    ping_frame = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings_frame + ping_frame * 50)
    received = await asyncio.wait_for(reader.read(), PATIENCE)
    assert b"too_many_pings" in received
    writer.close()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(600), b"\xff" * 5000]
)
async def test_what_is_no_grpc_closes_its_connection_only(
    held: tuple[Held, GrpcServer], garbage: bytes
) -> None:
    handler, server = held
    handler.let_go.set()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(garbage)
    await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    async with channel_to(server) as channel:
        stub = files_pb2_grpc.FileServiceStub(channel)
        call = stub.GetFile(files_pb2.GetFileRequest(file_id="f"), wait_for_ready=True)
        assert (await asyncio.wait_for(call, PATIENCE)).id == "f"


async def test_metadata_over_the_bound_is_refused(held: tuple[Held, GrpcServer]) -> None:
    handler, server = held
    handler.let_go.set()
    async with channel_to(server) as channel:
        stub = files_pb2_grpc.FileServiceStub(channel)
        call = stub.GetFile(files_pb2.GetFileRequest(), metadata=[("x-large", "x" * 20_000)])
        assert (await failure(call)).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await stub.GetFile(files_pb2.GetFileRequest(file_id="f"))


async def test_an_accounts_watches_are_bounded_apart_from_all() -> None:
    places = ConcurrencyInterceptor(ConcurrencyLimits(watches=3, account_watches=2))
    let_go = asyncio.Event()
    entered = asyncio.Semaphore(0)

    async def watch(account: str) -> None:
        async def proceed() -> None:
            entered.release()
            await let_go.wait()

        calling.set(Principal(account, "key"))
        context: Any = None
        await places.around("/polybatch.v1.StatusService/WatchBatch", context, proceed)

    tasks = [asyncio.create_task(watch("a")) for _ in range(2)]
    for _ in tasks:
        await entered.acquire()
    with pytest.raises(ApiError, match="the account has its limit of 2 watches"):
        await asyncio.create_task(watch("a"))
    tasks.append(asyncio.create_task(watch("b")))
    await entered.acquire()
    with pytest.raises(ApiError, match="this process has its limit of 3 watches"):
        await asyncio.create_task(watch("c"))
    let_go.set()
    await asyncio.gather(*tasks)
    await asyncio.create_task(watch("a"))


def test_the_bounds_are_those_of_the_settings() -> None:
    assert ConcurrencyLimits.of(Settings()) == ConcurrencyLimits()


def test_a_pace_counts_only_what_was_waited() -> None:
    pace = MinimumThroughput(100.0, window=10.0)
    for _ in range(1000):
        pace.add(0.009, 1)
    pace.add(0.9, 100)
    with pytest.raises(ApiError, match="UPLOAD_TOO_SLOW"):
        pace.add(10.0, 800)
    idle = MinimumThroughput(0.0, window=10.0)
    idle.add(1000.0, 0)

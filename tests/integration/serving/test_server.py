"""The life of a server: readiness, draining, stopping, keepalive."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from polybatch import AsyncClient, PolybatchError
from polybatch.v1 import files_pb2, files_pb2_grpc

from core.serving import ApiError, GrpcServer, ListenError, Principal
from core.serving import server as serving_server
from core.serving.in_flight import InFlightInterceptor
from core.serving.interceptor import Context
from core.serving.memory import expect_messages
from core.serving.principal import calling
from core.serving.running_call import running_call
from tests.integration.serving.conftest import KEY, Files, Running, Serve

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def health(running: Running, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(running.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def test_health_follows_readiness_and_needs_no_key(serve: Serve) -> None:
    running = await serve()
    for service in ("", "polybatch.v1.FileService"):
        assert await health(running, service) == SERVING
    await running.server.set_ready(False)
    for service in ("", "polybatch.v1.FileService"):
        assert await health(running, service) == NOT_SERVING


async def test_reflection_lists_the_services_without_a_key(serve: Serve) -> None:
    running = await serve()
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {"polybatch.v1.FileService", "grpc.health.v1.Health"} <= names


async def test_a_health_watch_sees_the_drain_and_does_not_hold_it_up(serve: Serve) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def get(request: Any, context: Any) -> Any:
        entered.set()
        await go_on.wait()
        return files_pb2.File()

    running = await serve(get=get)
    watch = health_pb2_grpc.HealthStub(running.channel).Watch(
        health_pb2.HealthCheckRequest(service="")
    )
    assert (await watch.read()).status == SERVING
    call = running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
    async with asyncio.timeout(20):
        await entered.wait()
        stopping = asyncio.create_task(running.server.stop(grace=600))
        assert (await watch.read()).status == NOT_SERVING
        go_on.set()
        await call
        await stopping


async def test_stop_lets_a_running_call_finish(serve: Serve) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def get(request: Any, context: Any) -> Any:
        entered.set()
        await go_on.wait()
        return files_pb2.File(id="file_1")

    running = await serve(get=get)
    call = running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
    async with asyncio.timeout(20):
        await entered.wait()
        stopping = asyncio.create_task(running.server.stop(grace=600))
        await running.server.draining.wait()
        assert not running.server.stopped.is_set()
        go_on.set()
        assert (await call).id == "file_1"
        await stopping
        assert running.server.stopped.is_set()


@pytest.mark.parametrize("kind", ["generator", "blocked", "writer"])
async def test_stop_ends_a_stream_after_the_grace_and_waits_for_finally(
    serve: Serve, kind: str
) -> None:
    cleaning, clean, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()
    written = asyncio.Event()

    async def clean_up() -> None:
        cleaning.set()
        await clean.wait()
        cleaned.set()

    async def generator(request: Any, context: Any) -> Any:
        try:
            yield files_pb2.DownloadFileResponse()
            await asyncio.Event().wait()
        finally:
            await clean_up()

    async def blocked(request: Any, context: Any) -> Any:
        """Is at a yield when it ends: the client reads only the first of these."""
        try:
            while True:
                yield files_pb2.DownloadFileResponse(chunk=bytes(1024 * 1024))
        finally:
            await clean_up()

    async def writer(request: Any, context: Any) -> Any:
        try:
            await context.write(files_pb2.DownloadFileResponse())
            # The client may have it before gRPC has told the handler so.
            written.set()
            await asyncio.Event().wait()
        finally:
            await clean_up()

    handlers = {"generator": generator, "blocked": blocked, "writer": writer}
    running = await serve(download=handlers[kind])
    call = running.files.DownloadFile(files_pb2.DownloadFileRequest(), metadata=running.auth)
    async with asyncio.timeout(20):
        await call.read()
        if kind == "writer":
            await written.wait()
        stopping = asyncio.create_task(running.server.stop(grace=0))
        await cleaning.wait()
        assert not stopping.done()
        clean.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            # What was on its way comes before the status.
            await read_to_the_end(call)
        await stopping
        assert cleaned.is_set()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "stopping" in (caught.value.details() or "")


async def test_stop_waits_for_the_finally_of_a_handler_whose_client_has_left(
    serve: Serve,
) -> None:
    cleaning, clean, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def download(request: Any, context: Any) -> Any:
        try:
            yield files_pb2.DownloadFileResponse()
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await clean.wait()
            cleaned.set()

    running = await serve(download=download)
    call = running.files.DownloadFile(files_pb2.DownloadFileRequest(), metadata=running.auth)
    async with asyncio.timeout(20):
        await call.read()
        call.cancel()
        await cleaning.wait()
        stopping = asyncio.create_task(running.server.stop(grace=0))
        await asyncio.wait({stopping}, timeout=0.2)
        assert not stopping.done()
        clean.set()
        await stopping
    assert cleaned.is_set()


async def test_a_client_that_leaves_ends_the_handler_and_its_generator(serve: Serve) -> None:
    cleaned = asyncio.Event()

    async def download(request: Any, context: Any) -> Any:
        try:
            while True:
                yield files_pb2.DownloadFileResponse(chunk=bytes(64 * 1024))
        finally:
            cleaned.set()

    running = await serve(download=download)
    call = running.files.DownloadFile(files_pb2.DownloadFileRequest(), metadata=running.auth)
    await call.read()
    call.cancel()
    async with asyncio.timeout(20):
        await cleaned.wait()


async def test_stop_is_safe_before_start_and_twice(serve: Serve) -> None:
    never_started = GrpcServer(
        "127.0.0.1:0", name="test", authenticate=None, register=Files().register
    )
    await never_started.stop(grace=1)
    assert never_started.stopped.is_set()
    running = await serve()
    await asyncio.gather(running.server.stop(grace=1), running.server.stop(grace=1))
    await running.server.stop(grace=1)
    assert running.server.stopped.is_set()


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        server = GrpcServer(listen, name="gateway", authenticate=None, register=Files().register)
        with pytest.raises(ListenError, match=f"gateway cannot listen on {listen}"):
            await server.start()


async def test_two_servers_do_not_share_a_port(serve: Serve) -> None:
    running = await serve()
    listen = f"127.0.0.1:{running.server.port}"
    second = GrpcServer(listen, name="second", authenticate=None, register=Files().register)
    with pytest.raises(ListenError):
        await second.start()


async def ping_for(running: Running, *, every_ms: int, seconds: float) -> str | None:
    """Hold a silent stream open while pinging; how it broke, or None if it lived."""
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{running.server.port}",
        options=[
            ("grpc.keepalive_time_ms", every_ms),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.max_pings_without_data", 0),
        ],
    )
    call = files_pb2_grpc.FileServiceStub(channel).DownloadFile(
        files_pb2.DownloadFileRequest(), metadata=running.auth
    )
    try:
        await call.read()
        async with asyncio.timeout(seconds):
            await call.read()
    except TimeoutError:
        return None
    except grpc.aio.AioRpcError as error:
        return error.details()
    finally:
        await channel.close()
    raise AssertionError("the stream ended")


async def hold(request: Any, context: Any) -> Any:
    yield files_pb2.DownloadFileResponse()
    await asyncio.Event().wait()


async def test_client_pings_are_allowed_down_to_the_interval(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small: a tenth of a second instead of ten, and pings every half second."""
    options = dict(serving_server.SERVER_OPTIONS)
    assert options["grpc.http2.min_ping_interval_without_data_ms"] <= 20_000
    options["grpc.http2.min_ping_interval_without_data_ms"] = 100
    monkeypatch.setattr(serving_server, "SERVER_OPTIONS", tuple(options.items()))
    running = await serve(download=hold)
    assert await ping_for(running, every_ms=500, seconds=3) is None


async def test_client_pings_faster_than_that_are_refused(serve: Serve) -> None:
    running = await serve(download=hold)
    assert await ping_for(running, every_ms=500, seconds=10) == "Too many pings"


async def test_calls_are_taken_until_the_delay_of_the_drain_is_over(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay, over, sleep = 600.0, asyncio.Event(), asyncio.sleep

    async def until_over(seconds: float) -> None:
        await (over.wait() if seconds == delay else sleep(seconds))

    monkeypatch.setattr(asyncio, "sleep", until_over)

    async def get(request: Any, context: Any) -> Any:
        return files_pb2.File(id="file_1")

    running = await serve(get=get)
    watch = health_pb2_grpc.HealthStub(running.channel).Watch(
        health_pb2.HealthCheckRequest(service="")
    )
    assert (await watch.read()).status == SERVING
    stopping = asyncio.create_task(running.server.stop(grace=600, drain_delay=delay))
    async with asyncio.timeout(20):
        assert (await watch.read()).status == NOT_SERVING
        found = await running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
        assert found.id == "file_1"
        assert not running.server.draining.is_set()
        watch.cancel()
        over.set()
        await stopping


async def test_a_client_leaves_a_replica_that_is_not_serving(serve: Serve) -> None:
    answered: list[int] = []

    def answering(number: int) -> Any:
        async def get(request: Any, context: Any) -> Any:
            answered.append(number)
            return files_pb2.File(id="file_1")

        return get

    one, two = await serve(get=answering(1)), await serve(get=answering(2))
    retries: list[PolybatchError] = []
    async with AsyncClient(
        gateway=f"127.0.0.1:{one.server.port},127.0.0.1:{two.server.port}",
        api_key=KEY,
        on_retry=lambda error, wait: retries.append(error),
    ) as client:
        for _ in range(4):
            await client.files.get("file_1")
        assert sorted(answered) == [1, 1, 2, 2]
        watch = health_pb2_grpc.HealthStub(one.channel).Watch(
            health_pb2.HealthCheckRequest(service="")
        )
        await watch.read()
        await one.server.set_ready(False)
        await watch.read()
        answered.clear()
        for _ in range(4):
            await client.files.get("file_1")
        assert answered.count(2) >= 3, "at most the call that was on its way"
        assert {error.reason for error in retries} <= {"NOT_SERVING"}
        watch.cancel()


@pytest.mark.long
async def test_thousands_of_calls_that_come_at_once_are_all_taken_up(serve: Serve) -> None:
    async def get(request: Any, context: Any) -> Any:
        return files_pb2.File(id="file_1")

    running = await serve(get=get)
    calls = [
        running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
        for _ in range(4000)
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_calls_that_wait_long_to_be_taken_up_are_not_cancelled(serve: Serve) -> None:
    """As thousands that come at once do on a busy machine: by default gRPC gives them 30 s."""
    busy = threading.Event()

    async def get(request: Any, context: Any) -> Any:
        if not busy.is_set():
            busy.set()
            # Holds up the whole loop. It is gRPC's own clock that has to move, so time has
            # to pass; nothing ends this earlier.
            threading.Event().wait(31)
        return files_pb2.File(id="file_1")

    running = await serve(get=get)
    with grpc.insecure_channel(f"127.0.0.1:{running.server.port}") as channel:
        stub = files_pb2_grpc.FileServiceStub(channel)
        calls = [
            stub.GetFile.future(files_pb2.GetFileRequest(), metadata=running.auth)
            for _ in range(50)
        ]
        codes = await asyncio.to_thread(lambda: [call.code() for call in calls])
    assert busy.is_set()
    assert codes == [grpc.StatusCode.OK] * len(calls)


class SlowWrites:
    """A context whose writes end when the test says so."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.ended = False

    async def write(self, _response: Any) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.ended = True


async def begin_write(context: SlowWrites) -> tuple[InFlightInterceptor, asyncio.Task[None]]:
    """A call of `KEY` that is writing."""
    in_flight = InFlightInterceptor()

    async def call() -> None:
        calling.set(Principal("acct", KEY))
        its_context = cast("Context", context)
        await in_flight.around(
            "/a/Stream", its_context, lambda: running_call.get().write(its_context, b"")
        )

    running = asyncio.create_task(call())
    await context.begun.wait()
    return in_flight, running


async def test_a_call_is_ended_after_its_write() -> None:
    context = SlowWrites()
    in_flight, running = await begin_write(context)
    assert in_flight.end_calls_of(KEY, ApiError.stopping()) == 1
    assert in_flight.end_calls_of(KEY, ApiError.stopping()) == 0, "it is at its end"
    await asyncio.sleep(0)
    assert not running.done(), "a status beside the write would be lost"
    context.go_on.set()
    with pytest.raises(ApiError, match="SERVER_STOPPING"):
        await running
    assert context.ended


async def test_a_client_that_does_not_read_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.serving.running_call.WRITE_LIMIT", 0.01)
    context = SlowWrites()
    in_flight, running = await begin_write(context)
    in_flight.end_calls_of(KEY, ApiError.stopping())
    async with asyncio.timeout(20):
        with pytest.raises(ApiError, match="SERVER_STOPPING"):
            await running
    assert not context.ended


async def test_a_client_that_leaves_a_call_at_its_end_is_told_nothing() -> None:
    in_flight, running = await begin_write(SlowWrites())
    in_flight.end_calls_of(KEY, ApiError.stopping())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_what_is_written_to_thousands_at_once_is_not_looked_through_for_garbage() -> None:
    before = gc.get_threshold()
    try:
        expect_messages(5_000)
        assert gc.get_threshold() == (100_000, *before[1:])
        expect_messages(501)
        expect_messages(1)
        assert gc.get_threshold() == (10_020, *before[1:]), "as ever, once they have gone"
    finally:
        gc.set_threshold(*before)

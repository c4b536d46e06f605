"""How the supervisor finds out that a child does its work."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from services.supervisor.spec import Probe

_PAUSE = 0.05
_HTTP_TIMEOUT = 2.0

_CHANNEL_OPTIONS = (
    # A fresh connection: a shared one may still be backing off from the child before.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
)


def grpc_serving(address: str) -> Probe:
    """A gRPC server whose health is SERVING. address: host:port."""

    async def probe() -> None:
        async with grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                watch = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
                try:
                    async for answer in watch:
                        if answer.status == health_pb2.HealthCheckResponse.SERVING:
                            return
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(_PAUSE)
                finally:
                    watch.cancel()

    return probe


def http_ok(host: str, port: int, path: str) -> Probe:
    """An HTTP server that answers GET with 200."""

    def ask() -> bool:
        connection = http.client.HTTPConnection(host, port, timeout=_HTTP_TIMEOUT)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return _repeat(lambda: asyncio.to_thread(ask))


def nats_greets(host: str, port: int) -> Probe:
    """A NATS server that greets whoever connects."""

    async def greeted() -> bool:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        try:
            return (await reader.readline()).startswith(b"INFO")
        except OSError:
            return False
        finally:
            writer.close()

    return _repeat(greeted)


def _repeat(ask: Callable[[], Awaitable[bool]]) -> Probe:
    async def probe() -> None:
        # Nobody gives a sign when another process begins to listen.
        while not await ask():  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE)

    return probe

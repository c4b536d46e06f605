"""How the supervisor finds out that a child does its work."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from core.serving import TlsError
from core.serving.tls_settings import CHANNEL_OPTIONS, ProbeTls
from services.supervisor.spec import Probe

_PAUSE = 0.05
_HTTP_TIMEOUT = 2.0
_WATCH_TIMEOUT = 10.0


def grpc_serving(address: str, tls: ProbeTls | None = None) -> Probe:
    """A gRPC server whose health is SERVING. address: host:port. tls: None: in the clear."""

    def channel() -> grpc.aio.Channel:
        if tls is None:
            return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        return tls.channel(address)

    async def probe() -> None:
        while True:
            try:
                # A new one each time, so that renewed certificates are taken up.
                async with channel() as opened:
                    watch = health_pb2_grpc.HealthStub(opened).Watch(
                        health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=_WATCH_TIMEOUT
                    )
                    async for answer in watch:
                        if answer.status == health_pb2.HealthCheckResponse.SERVING:
                            watch.cancel()
                            return
            except (grpc.aio.AioRpcError, TlsError, OSError):
                await asyncio.sleep(_PAUSE)

    return probe


def http_ok(host: str, port: int, tls: ProbeTls | None = None) -> Probe:
    """An HTTP server that answers GET /healthz with 200. tls: None: in the clear."""

    def ask() -> bool:
        try:
            connection = _connection(host, port, tls)
        except (OSError, TlsError):
            return False
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return _repeat(lambda: asyncio.to_thread(ask))


def _connection(host: str, port: int, tls: ProbeTls | None) -> http.client.HTTPConnection:
    if tls is None:
        return http.client.HTTPConnection(host, port, timeout=_HTTP_TIMEOUT)
    return http.client.HTTPSConnection(host, port, timeout=_HTTP_TIMEOUT, context=tls.context())


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

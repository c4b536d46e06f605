"""One gRPC server: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TypeAlias

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from core.serving.access_log import AccessLogInterceptor
from core.serving.auth import Authenticate, AuthInterceptor
from core.serving.chain import Chain
from core.serving.concurrency import ConcurrencyInterceptor, ConcurrencyLimits
from core.serving.errors import ErrorsInterceptor
from core.serving.in_flight import CLEANUP_LIMIT, InFlightInterceptor
from core.serving.interceptor import CallInterceptor
from core.serving.process import StartupError
from core.serving.rate_limit import RateLimitInterceptor
from core.serving.reflection import Reflection
from core.serving.revocation import Revocation, Revoked
from core.serving.rpc_metrics import RpcMetricsInterceptor
from core.serving.rpc_traces import RpcTracesInterceptor
from core.serving.tls import ServerTls, TlsFiles

log = structlog.get_logger()

Register: TypeAlias = Callable[[grpc.aio.Server], Sequence[str]]
"""Adds servicers to a server and returns the full names of their services."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024

SERVER_OPTIONS = (
    # Two servers on one port would each get some of the calls, and neither would say so.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # How far a client may send ahead on one stream: so much at most waits in memory while
    # a handler is busy. The probe would let it grow without a bound that can be set, for
    # the sake of links with more than 40 MB/s at 50 ms.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 2 * 1024 * 1024),
    # Clients ping every 20 s, also while no call is open; by default a server takes one
    # ping in 300 s and closes the connection of whoever sends more.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Calls that have come and wait to be taken up: thousands at once when a replica is gone and
    # its watchers come over. Beyond the first number gRPC cancels some at random, beyond the
    # second all, without a word; by default from 1,000 and 3,000 on.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 30_000),
    # So long, in seconds, one of them may wait. gRPC's default is 30, and what has waited for
    # longer it cancels, without a word: the last of ten thousand do on a busy machine. Who
    # will not wait has a deadline of his own, or hangs up.
    ("grpc.server_max_unrequested_time_in_server", 3_600),
    # So often a client has to connect anew, which is when it learns of new replicas. The
    # calls that are open on the old connection go on there, however long they take.
    ("grpc.max_connection_age_ms", 600_000),
    # Who opens a connection and says nothing, or pings all the time, is disconnected.
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.http2.max_ping_strikes", 2),
    # Of one call's metadata; a key and the traces take some hundred bytes.
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    # A watcher whose machine has vanished is noticed after these two.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


DEFAULT_LIMITS = ConcurrencyLimits()


class ListenError(StartupError):
    """The address cannot be listened on."""


class GrpcServer:
    """A server with health, reflection, authentication, typed errors and an access log.

    listen: "host:port"; port 0 takes a free one. authenticate: None leaves all methods
    open. tls: None speaks in the clear. revoked: asked every `revoked_within` seconds for
    the keys of open calls. calls_per_second: that one account may begin; 0: any number.
    limits: what the process takes at a time.
    The server answers NOT_SERVING to health checks until `set_ready(True)`.
    """

    def __init__(
        self,
        listen: str,
        *,
        name: str,
        authenticate: Authenticate | None,
        register: Register,
        tls: TlsFiles | None = None,
        revoked: Revoked | None = None,
        revoked_within: float = 2.0,
        calls_per_second: float = 0.0,
        limits: ConcurrencyLimits = DEFAULT_LIMITS,
    ) -> None:
        self.name = name
        self.port = 0
        """The port listened on; 0 before start."""
        self.draining = asyncio.Event()
        """Set once no new call comes in: a handler of an endless stream ends its stream then."""
        self.stopped = asyncio.Event()
        self._listen = listen
        self._authenticate = authenticate
        self._register = register
        self._tls = tls
        self._calls_per_second = calls_per_second
        self._limits = limits
        self._server: grpc.aio.Server | None = None
        self._services: Sequence[str] = ()
        self._in_flight = InFlightInterceptor()
        self._health = health.aio.HealthServicer()
        self._revocation = (
            Revocation(self._in_flight, revoked, revoked_within) if revoked is not None else None
        )
        self._looking: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen. Raises ListenError, and TlsError."""
        credentials = None if self._tls is None else ServerTls(self._tls).credentials()
        # From the outside in: the log sees the code that the errors were given, and an
        # error of authentication is an error like any other.
        interceptors: list[CallInterceptor] = [
            RpcTracesInterceptor(),
            AccessLogInterceptor(),
            RpcMetricsInterceptor(),
            ErrorsInterceptor(),
        ]
        if self._authenticate is not None:
            interceptors.append(AuthInterceptor(self._authenticate))
        if self._calls_per_second:
            interceptors.append(RateLimitInterceptor(self._calls_per_second))
        interceptors += [ConcurrencyInterceptor(self._limits), self._in_flight]
        options = (*SERVER_OPTIONS, *self._limits.options)
        server = grpc.aio.server(interceptors=[Chain(interceptors)], options=options)
        self._services = [*self._register(server), health.SERVICE_NAME]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_generic_rpc_handlers((Reflection(self._services),))
        await self.set_ready(False)
        try:
            self.port = (
                server.add_insecure_port(self._listen)
                if credentials is None
                else server.add_secure_port(self._listen, credentials)
            )
        except RuntimeError as error:
            raise ListenError(
                f"{self.name} cannot listen on {self._listen}: "
                "the port is taken, or the address is not this machine's"
            ) from error
        await server.start()
        self._server = server
        if self._revocation is not None:
            self._looking = asyncio.create_task(self._revocation.run())
        log.info(
            "server_started",
            server=self.name,
            listen=self._listen,
            port=self.port,
            tls=_kind(self._tls),
        )
        if self._tls is None and self._authenticate is not None and not is_local(self._listen):
            log.warning(
                "keys_in_the_clear",
                server=self.name,
                listen=self._listen,
                next_step="set POLYBATCH_TLS_CERT and POLYBATCH_TLS_KEY, unless something in "
                "front of this server speaks TLS",
            )

    async def set_ready(self, ready: bool) -> None:
        """Say to health checks, for each service and for the whole, whether to send calls."""
        status = (
            health_pb2.HealthCheckResponse.SERVING
            if ready
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in ("", *self._services):
            await self._health.set(service, status)

    async def stop(self, grace: float, *, drain_delay: float = 0.0) -> None:
        """Drain and stop; returns when the last handler's finally blocks have run.

        Says NOT_SERVING to health checks at once, and refuses new calls after another
        `drain_delay` seconds, which give load balancers the time to hear of it. Then it
        gives running calls `grace` seconds, and ends the rest with UNAVAILABLE, reason
        SERVER_STOPPING. Can be called twice, and before start.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace, drain_delay))
        await asyncio.shield(self._stopping)

    async def _stop(self, grace: float, drain_delay: float) -> None:
        if self._server is None:
            self.draining.set()
        else:
            await self._health.enter_graceful_shutdown()
            await asyncio.sleep(drain_delay)
            closing = asyncio.create_task(self._server.stop(grace + CLEANUP_LIMIT))
            # It has told the clients to go (GOAWAY) before any stream ends: whoever comes
            # back at once comes to another replica.
            await asyncio.sleep(0)
            self.draining.set()
            await self._in_flight.finish(grace)
            await closing
            if self._looking is not None:
                self._looking.cancel()
                await asyncio.gather(self._looking, return_exceptions=True)
            log.info("server_stopped", server=self.name)
        self.stopped.set()


def is_local(listen: str) -> bool:
    """Whether only this machine reaches "host:port"."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _kind(tls: TlsFiles | None) -> str:
    if tls is None:
        return "off"
    return "on" if tls.client_ca is None else "mutual"

"""The HTTP server: uvicorn under our own lifecycle, with bounds on what a client sends first."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from asyncio.events import TimerHandle
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.serving import StartupError
from core.serving.server import is_local
from core.serving.tls import Identity, TlsError, TlsFiles

log = structlog.get_logger()

_MAX_HEAD_BYTES = 64 * 1024
"""Of a head, and of what else comes without a byte of a body: trailers, extensions of chunks."""
_MAX_PIPELINED = 100
"""Requests that wait for the answers to those before them on their connection."""
_HEAD_SECONDS = 20.0
_KEEP_ALIVE_SECONDS = 75
_RENEWAL_SECONDS = 10.0
_BACKLOG = 2048
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class _Protocol(HttpToolsProtocol):
    """Closes the connection of who sends what never ends and is of no use: uvicorn would wait for
    the end of a head for ever, and keep all trailers, and all requests that are sent ahead."""

    _timer: TimerHandle | None = None
    _unread = 0
    """Bytes since the last that were of use."""
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head and self._timer is None:
            self._await_head()
        self._unread += len(data)
        super().data_received(data)
        if self._unread > _MAX_HEAD_BYTES:
            if self._in_head:
                self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
        elif len(self.pipeline) > _MAX_PIPELINED:
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._head_came()
        self._in_head, self._unread = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._unread = True, 0

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _head_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    """Leaves signals to core.serving.run, and says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """See uvicorn.Server."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        await super().startup(sockets)
        self.answers.set()


class HttpServer:
    """One listener. `start` and `stop` as GrpcServer has them."""

    def __init__(
        self, app: ASGIApp, listen: str, *, tls: TlsFiles | None, connections: int
    ) -> None:
        """listen: "host:port"; port 0 takes a free one. Raises StartupError, TlsError."""
        host, colon, port = listen.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise StartupError(f"POLYBATCH_WEB_LISTEN is {listen!r}: host:port was expected")
        # What matters of its own log has a line in ours.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=connections,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        self._tls = tls
        self._context = None if tls is None else _context(tls)
        if self._context is not None:
            self._context.sni_callback = self._take_newest
        config.ssl = self._context
        self._listen = listen
        self._address = (host.strip("[]"), int(port))
        self._server = _Server(config)
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0
        """The port listened on; 0 before start."""

    async def start(self) -> None:
        """Begin to listen. Raises StartupError."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        try:
            listener = socket.create_server(self._address, family=family, backlog=_BACKLOG)
        except OSError as error:
            raise StartupError(
                f"web cannot listen on {self._listen} (POLYBATCH_WEB_LISTEN): "
                f"{error.strerror or error}"
            ) from error
        self.port = listener.getsockname()[1]
        self._tasks.append(asyncio.create_task(self._server.serve(sockets=[listener])))
        await self._server.answers.wait()
        if self._context is not None:
            self._tasks.append(asyncio.create_task(self._renew()))
        log.info(
            "server_started",
            server="web",
            listen=self._listen,
            port=self.port,
            tls="off" if self._tls is None else "on",
        )
        if self._tls is None and not is_local(self._listen):
            log.warning(
                "keys_in_the_clear",
                server="web",
                listen=self._listen,
                next_step="set POLYBATCH_TLS_CERT and POLYBATCH_TLS_KEY, unless something in "
                "front of this server speaks TLS",
            )

    async def stop(self, grace: float) -> None:
        """Take no more connections, give requests under way `grace` seconds, end the rest.

        May be called before `start`.
        """
        if not self._tasks:
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        serving, *others = self._tasks
        for task in others:
            task.cancel()
        await asyncio.gather(serving, *others, return_exceptions=True)
        # Those whose time was up have been cancelled: their calls to the engine end with them.
        await asyncio.gather(*self._server.server_state.tasks, return_exceptions=True)
        log.info("server_stopped", server="web")

    def _take_newest(self, connection: ssl.SSLObject, _name: str | None, _first: object) -> None:
        """Called at the beginning of each handshake, whether or not it names the server."""
        assert self._context is not None
        connection.context = self._context

    async def _renew(self) -> None:
        """Serve what files are replaced by to the next connection, as the gRPC servers do."""
        assert self._tls is not None
        seen = _stamps(self._tls)
        while True:
            await asyncio.sleep(_RENEWAL_SECONDS)
            stamps = await asyncio.to_thread(_stamps, self._tls)
            if stamps == seen:
                continue
            try:
                # A new one: authorities can be added to a context, and never taken away.
                self._context = _context(self._tls)
            except (TlsError, OSError) as error:
                log.warning("tls_renewal_waits", cause=str(error))
                continue
            seen = stamps
            log.info("tls_renewed")


def _context(tls: TlsFiles) -> ssl.SSLContext:
    Identity.read(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert, tls.key)
    if tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
        # Who resumes a session shows no certificate. Of TLS 1.2's sessions Python has no say.
        context.num_tickets = 0
    return context


def _stamps(tls: TlsFiles) -> list[tuple[int, int]]:
    def stamp(path: Path) -> tuple[int, int]:
        try:
            found = path.stat()
        except OSError:
            return (0, 0)
        return found.st_mtime_ns, found.st_ino

    return [stamp(each) for each in (tls.cert, tls.key, tls.client_ca) if each is not None]

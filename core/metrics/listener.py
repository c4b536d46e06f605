"""The HTTP listener that Prometheus reads a process's metrics from.

Not prometheus_client.start_http_server: that asks a name server when it starts, and keeps a
thread for each silent client for ever.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import REGISTRY, make_wsgi_app

log = structlog.get_logger()

_POLL_INTERVAL = 0.1
_REQUEST_TIMEOUT = 10.0


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT
    """Seconds after which a silent client is dropped, and the thread that serves it ends."""

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("metrics_request", request=format % args)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Closing would otherwise wait for the scrapes under way, and they for the event loop.
    block_on_close = False

    def server_bind(self) -> None:
        """Bind without http.server's question to a name server, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class MetricsListener:
    """Serves http://host:port/metrics from a thread of its own, so that a busy event loop
    shows in the figures instead of hiding them. `port` 0 takes a free one."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._wanted = port
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port listened on; 0 before `start` and after `stop`."""
        return self._server.server_port if self._server is not None else 0

    def start(self) -> None:
        """Begin to listen. Raises OSError when the address cannot be listened on."""
        self._server = make_server(
            self._host,
            self._wanted,
            make_wsgi_app(REGISTRY),
            server_class=_Server6 if ":" in self._host else _Server,
            handler_class=_Handler,
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": _POLL_INTERVAL},
            name="metrics",
            daemon=True,
        )
        self._thread.start()
        log.debug("metrics_listening", listen=self._host, port=self.port)

    async def stop(self) -> None:
        """End. May be called twice, and before `start`. A scrape under way is not waited for."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            self._thread.join()

"""Runs the sandbox as a server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.sandbox.app import create_app
from services.sandbox.call import TRANSPORT
from services.sandbox.config import Options
from services.sandbox.sandbox import Sandbox

_GRACE_SECONDS = 3
"""How long requests under way may take to end when the server stops."""


class _Protocol(HttpToolsProtocol):
    """Hands the connection to the application, so that a fault can reset it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]


class SandboxServer(uvicorn.Server):
    """A server for a sandbox that keeps its contents in a folder within `data_dir`.

    Port 0 takes a free one. `on_ready` is called with the base URL once it answers.
    `run()` serves until SIGINT, SIGTERM or `should_exit`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        data_dir: Path,
        options: Options,
        on_ready: Callable[[str], None],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(Sandbox(data_dir, options)),
                host=host,
                port=port,
                loop="uvloop",
                http=_Protocol,
                ws="none",
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            self._on_ready(f"http://{self.config.host}:{port}")

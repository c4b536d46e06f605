"""A real nats-server of its own for the tests of the gateway."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from core.bus import EmbeddedNats


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Nats:
    """A nats-server that a test can kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.embedded = EmbeddedNats(folder, free_port())
        self.url = self.embedded.url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self.embedded.command(), stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if b"Server is ready" in line:
                return
        raise AssertionError("nats-server ended before it was ready")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

"""A real nats-server, which a test can kill and start again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.bus import EmbeddedNats
from tests.support.stores.process import free_port, tied


class Nats:
    """A nats-server that a test can kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.embedded = EmbeddedNats(folder, free_port())
        self.url = self.embedded.url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(tied(self.embedded.command()), stderr=subprocess.PIPE)
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


@contextmanager
def running_nats(folder: Path) -> Iterator[Nats]:
    """One that is ready."""
    nats = Nats(folder)
    nats.start()
    yield nats
    nats.kill()

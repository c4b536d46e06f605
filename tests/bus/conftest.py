"""A real nats-server on a free port, which a test can kill, wipe and start again."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.bus import Bus, EmbeddedNats


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Nats:
    """One nats-server; `url` stays the same over restarts."""

    def __init__(self, data_dir: Path) -> None:
        self.embedded = EmbeddedNats(data_dir, free_port())
        self.url = self.embedded.url
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self.embedded.command(), stderr=asyncio.subprocess.PIPE
        )
        stderr = self._process.stderr
        assert stderr is not None
        async with asyncio.timeout(10):
            async for line in stderr:
                if b"Server is ready" in line:
                    return
        raise AssertionError("nats-server ended before it was ready")

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()
            self._process = None

    def wipe(self) -> None:
        shutil.rmtree(self.embedded.store_dir)


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[Nats]:
    server = Nats(tmp_path)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def bus(nats: Nats) -> AsyncIterator[Bus]:
    connected = await Bus.connect(nats.url, name="test")
    yield connected
    await connected.close()

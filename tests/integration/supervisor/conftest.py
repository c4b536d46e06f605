"""Tiny child programs that report over a socket: tests wait for what they say."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from services.supervisor.spec import ChildSpec

TINY = """
import os, signal, socket, sys
port, name, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
line = socket.create_connection(("127.0.0.1", port))
def say(word):
    line.sendall(f"{name} {os.getpid()} {word}\\n".encode())
def on_sigterm(*_):
    say("stopping")
    if kind != "stubborn":
        # Ends only when its end was noted: what the next child says comes after it.
        line.shutdown(socket.SHUT_WR)
        line.recv(1)
        sys.exit(0)
signal.signal(signal.SIGTERM, on_sigterm)
print(f"{name} says hello", file=sys.stderr, flush=True)
if kind == "crash":
    say("crashing")
    sys.exit(3)
if kind == "mute":
    say("mute")
else:
    say("started")
while True:
    signal.pause()
"""


def tiny_command(port: int, name: str, kind: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", TINY, str(port), name, kind)


@dataclass
class Reports:
    """What the children have said, as "name word", in order; "gone" when one has died."""

    port: int = 0
    said: list[str] = field(default_factory=list)
    pids: dict[str, int] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = "?"
        try:
            while raw := await reader.readline():
                name, pid, word = raw.decode().split()
                await self._note(f"{name} {word}", name, int(pid))
        except ConnectionError:
            pass
        await self._note(f"{name} gone", name, None)
        writer.close()

    async def _note(self, said: str, name: str, pid: int | None) -> None:
        async with self._changed:
            self.said.append(said)
            if pid is not None:
                self.pids[name] = pid
            self._changed.notify_all()

    async def wait(self, said: str, times: int = 1, limit: float = 20) -> None:
        async with asyncio.timeout(limit), self._changed:
            await self._changed.wait_for(lambda: self.said.count(said) >= times)

    def spec(self, name: str, kind: str = "good", *, stop_grace: float = 20) -> ChildSpec:
        async def probe() -> None:
            # A process that was started anew must report anew.
            await self.wait(f"{name} started", times=self.said.count(f"{name} gone") + 1)

        return ChildSpec(
            name=name,
            command=tiny_command(self.port, name, kind),
            probe=probe,
            stop_grace=stop_grace,
        )


@pytest.fixture
async def reports() -> AsyncIterator[Reports]:
    reports = Reports()
    server = await asyncio.start_server(reports.serve, "127.0.0.1", 0)
    reports.port = server.sockets[0].getsockname()[1]
    yield reports
    server.close()
    await server.wait_closed()


async def process_end(pid: int, limit: float = 20) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), limit)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

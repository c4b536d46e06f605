"""One run of a peer's client, and what became of its lines."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import MeasurementFailed
from benchmarks.peers.contestants import Peer
from benchmarks.peers.fates import fates_in
from benchmarks.peers.processes import MemoryWatch, processor_seconds

_CLIENT_DEADLINE = 240.0
_QUIET_DEADLINE = 180.0
_QUIET_WINDOW = 0.5
_QUIET = 0.08
"""Seconds of processor time in the window: less is the ticking of idle services."""


class Client:
    """A client that runs."""

    def __init__(self, command: list[str], environment: dict[str, str], output: Path) -> None:
        self._output = output
        self.begun = time.perf_counter()
        with output.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def ended(self) -> Ended:
        """Wait for its end. Raises MeasurementFailed where there is none."""
        deadline = self.begun + _CLIENT_DEADLINE
        while True:
            # Polled, since waiting that tells what was used knows no timeout.
            pid, status, used = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() > deadline:
                self.process.kill()
                os.wait4(self.process.pid, 0)
                raise MeasurementFailed(f"no end after {_CLIENT_DEADLINE:g} s: {self._said()}")
            time.sleep(0.005)
        seconds = time.perf_counter() - self.begun
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return Ended(
            seconds,
            used.ru_utime + used.ru_stime,
            self.process.returncode,
            self._said(),
        )

    def _said(self) -> str:
        return self._output.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a client ended."""

    seconds: float
    """From its start, the interpreter's included."""
    processor: float
    """Seconds that it used itself."""
    exit_code: int
    """Negative: the signal that ended it."""
    said: str


def started(peer: Peer, source: Path, target: Path, name: str = "") -> Client:
    """Start a peer's client; `name`: of the work, where it can tell that by it."""
    return Client(
        peer.client(source, target, name),
        dict(peer.environment),
        target.with_suffix(".said"),
    )


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a whole file took."""

    seconds: float
    client: float
    """Seconds of processor time."""
    servers: float
    """As `client`; until they are idle again."""
    memory: int
    """Bytes of client and servers at the most; 0: not looked at."""


def measured(
    peer: Peer, source: Path, target: Path, lines: int, sandbox: int, *, look: bool
) -> Run:
    """Run a file that is to succeed. Raises MeasurementFailed if it does not.

    `sandbox`: its process, which has to be idle too before the next run. `look`: at memory,
    which costs processor time.
    """
    servers = peer.server_pids()
    before = processor_seconds(servers)
    target.unlink(missing_ok=True)
    client = started(peer, source, target)
    watch = MemoryWatch([client.process.pid, *servers]) if look else None
    with watch or nullcontext():
        ended = client.ended()
    fates = fates_in(target, lines)
    if ended.exit_code or fates.answered != lines:
        raise MeasurementFailed(f"{peer.name}: {fates}: {ended.said[-2000:]}")
    wait_until_idle([*servers, sandbox])
    return Run(
        ended.seconds,
        ended.processor,
        processor_seconds(servers) - before,
        watch.most if watch else 0,
    )


def wait_until_idle(pids: list[int]) -> None:
    """Wait until processes have nothing to do any more."""
    deadline = time.monotonic() + _QUIET_DEADLINE
    before = processor_seconds(pids)
    while time.monotonic() < deadline:
        time.sleep(_QUIET_WINDOW)
        now = processor_seconds(pids)
        if now - before <= _QUIET:
            return
        before = now
    raise MeasurementFailed("the servers do not become idle")

"""The sandbox that all peers ask: a process of its own, which is no part of what they use."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import MeasurementFailed
from benchmarks.sandbox_control import called
from tests.support.stores.process import ServerProcess, free_port

_DEADLINE = 120.0
_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running one."""

    url: str
    pid: int

    def begin(self, options: dict[str, Any]) -> None:
        """Forget everything, and behave in this way."""
        plain = {"faults": [], "batch_seconds": 0, "validation_errors": "first"}
        self._call("/sandbox/reset", {})
        self._call("/sandbox/config", {**plain, **options})

    def bill(self) -> Any:
        """What it has run, and would have been paid."""
        return self._call("/sandbox/bill")

    def wait_for_batches(self, count: int) -> None:
        """Wait until so many have been created."""
        self._wait(lambda bill: bill["batches_created"] >= count)

    def wait_for_the_end(self) -> None:
        """Wait until no batch runs any more."""
        self._wait(lambda bill: bill["lines_running"] == 0)

    def _wait(self, wanted: Callable[[Any], bool]) -> None:
        deadline = time.monotonic() + _DEADLINE
        while not wanted(bill := self.bill()):
            if time.monotonic() > deadline:
                raise MeasurementFailed(f"the sandbox does not get there: {bill}")
            time.sleep(_BETWEEN_LOOKS)

    def _call(self, path: str, content: Any = None) -> Any:
        return called(self.url + path, content)


@contextmanager
def running_sandbox(folder: Path) -> Iterator[Sandbox]:
    """Start it."""
    folder.mkdir()
    port = free_port()
    server = ServerProcess(
        "sandbox",
        [
            *(sys.executable, "-m", "services.sandbox"),
            *("--listen", f"127.0.0.1:{port}", "--data-dir", str(folder)),
        ],
        "sandbox_ready",
        folder / "sandbox.log",
    )
    server.start()
    try:
        assert server.pid is not None
        yield Sandbox(f"http://127.0.0.1:{port}", server.pid)
    finally:
        server.stop()

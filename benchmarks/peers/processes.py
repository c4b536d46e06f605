"""What the processes of a peer use, its children included."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_TICK = os.sysconf("SC_CLK_TCK")
_BETWEEN_SAMPLES = 0.05


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int(_fields(int(entry.name))[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def processor_seconds(pids: Iterable[int]) -> float:
    """What they have used so far, with those of their children that have ended."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += sum(map(int, _fields(pid)[11:15]))
    return ticks / _TICK


def memory(pids: Iterable[int]) -> int:
    """Bytes that they hold: what some of them share counts once (PSS)."""
    held = 0
    for pid in pids:
        # One that has ended holds nothing.
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    held += int(line.split()[1]) * 1024
    return held


class MemoryWatch:
    """The most that some processes hold together during a block."""

    def __init__(self, pids: list[int]) -> None:
        self.most = 0
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.most = max(self.most, memory(self._pids))
            if self._over.wait(_BETWEEN_SAMPLES):
                return


def _fields(pid: int) -> list[str]:
    """Those of /proc/PID/stat after the name of the command, which may have blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

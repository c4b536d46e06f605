"""How a test makes a process die at a failpoint, and hears which ones it passes.

The folder that POLYBATCH_FAILPOINTS names holds:

    plan.json       {"kills": [{"id", "service", "point", "moment", "nth", "stall"}, ...]},
                    replaced whole by the test whenever it wants other kills; nth counts from 1
    fired/<id>      made by the process that is about to die, with its pid, so that a kill
                    strikes once, however many replicas or restarts pass the point
    reached/<service>-<pid>   "point moment" lines, each once
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from core.failpoints.points import Failpoint, Moment
from core.struct_types import prepared

VARIABLE = "POLYBATCH_FAILPOINTS"


class Kill(msgspec.Struct, frozen=True):
    """One death: at the nth time that a process of a service comes to a point."""

    id: str
    service: str
    point: Failpoint
    moment: Moment
    nth: int = 1
    stall: bool = False
    """Stand still instead, until somebody sends SIGCONT."""


@prepared
class Plan(msgspec.Struct, frozen=True):
    """All deaths that are wanted just now."""

    kills: list[Kill] = []


class _Armed:
    """What an armed process does at each point."""

    def __init__(self, folder: Path, service: str) -> None:
        self._folder = folder
        self._service = service
        self._plan_file = folder / "plan.json"
        self._stamp: tuple[int, int] | None = None
        self._kills: list[Kill] = []
        self._passed: Counter[str] = Counter()
        self._told: set[tuple[Failpoint, Moment]] = set()
        (folder / "fired").mkdir(exist_ok=True)
        (folder / "reached").mkdir(exist_ok=True)
        self._reached = folder / "reached" / f"{service}-{os.getpid()}"

    def reached(self, point: Failpoint, moment: Moment) -> None:
        if (point, moment) not in self._told:
            self._told.add((point, moment))
            with self._reached.open("a") as out:
                out.write(f"{point} {moment}\n")
        self._reload()
        for kill in self._kills:
            if (kill.point, kill.moment) == (point, moment):
                self._passed[kill.id] += 1
                if self._passed[kill.id] >= kill.nth:
                    self._die(kill)

    def _reload(self) -> None:
        try:
            found = self._plan_file.stat()
        except FileNotFoundError:
            self._kills = []
            return
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp != self._stamp:
            plan = msgspec.json.decode(self._plan_file.read_bytes(), type=Plan)
            self._stamp = stamp
            self._kills = [kill for kill in plan.kills if kill.service == self._service]
            self._passed.clear()

    def _die(self, kill: Kill) -> None:
        try:
            with (self._folder / "fired" / kill.id).open("x") as claim:
                claim.write(str(os.getpid()))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGSTOP if kill.stall else signal.SIGKILL)


_armed: _Armed | None = None


def arm(service: str) -> None:
    """Take orders from the folder that POLYBATCH_FAILPOINTS names; nothing if it is unset."""
    global _armed
    folder = os.environ.get(VARIABLE)
    if folder:
        print(f"{service}: failpoints are armed by {folder}", file=sys.stderr)
        _armed = _Armed(Path(folder), service)


def reached(point: Failpoint, moment: Moment) -> None:
    """Say that the process has come to a failpoint. Costs nothing unless it is armed."""
    if _armed is not None:
        _armed.reached(point, moment)


@contextmanager
def writing(point: Failpoint) -> Iterator[None]:
    """The block makes this one write; what it raises was no write."""
    reached(point, Moment.BEFORE)
    yield
    reached(point, Moment.AFTER)

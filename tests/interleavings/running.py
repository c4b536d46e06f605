"""Runs: one schedule from its beginning until all is quiet, and what has to hold then."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from benchmarks.simulation.virtual_time import simulated_day
from tests.interleavings.ground import Ground
from tests.interleavings.in_place import in_place
from tests.interleavings.invariants import broken
from tests.interleavings.scheduler import Schedule, Scheduler
from tests.interleavings.world import World

_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one schedule."""

    seed: int
    choices: Sequence[int]
    labels: Sequence[str]
    failures: Sequence[str]

    @property
    def kinds(self) -> frozenset[str]:
        """What failed, without the ids in it."""
        return frozenset(_NUMBERS.sub("", failure)[:40] for failure in self.failures)

    def __str__(self) -> str:
        steps = "\n".join(f"{number:4} {label}" for number, label in enumerate(self.labels))
        told = "\n".join(self.failures)
        return f"seed {self.seed}, {len(self.labels)} steps\n{steps}\n\n{told}"


class Runner:
    """Runs schedules one after another, in one folder."""

    def __init__(self, folder: Path) -> None:
        with in_place():
            self._ground = Ground(folder)
            asyncio.run(self._ground.prepare())

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        with in_place():
            asyncio.run(self._ground.close())

    def run(self, seed: int, given: Sequence[int] | None = None) -> Run:
        """One run, of a seed or of given choices."""
        schedule = Schedule(seed, given)
        loop = Scheduler(schedule)
        self._ground.renew()
        logs: list[str] = []
        with in_place(), simulated_day(seed, loop), _errors(logs):
            asyncio.set_event_loop(loop)
            try:
                failures = loop.run_until_complete(self._go(World(self._ground, loop)))
            finally:
                asyncio.set_event_loop(None)
        return Run(seed, schedule.made, schedule.labels, [*failures, *logs])

    async def _go(self, world: World) -> list[str]:
        try:
            await world.run()
            world.loop.over = True
            return [*world.failures, *await broken(world)]
        finally:
            world.loop.over = True
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


@contextmanager
def _errors(logs: list[str]) -> Iterator[None]:
    """Collect what is logged as an error: the product's own word that something went wrong."""

    def collect(_logger: Any, method: str, event: dict[str, Any]) -> Any:
        if method in ("error", "exception", "critical"):
            logs.append(f"logged: {event}")
        raise structlog.DropEvent

    structlog.configure(processors=[collect], wrapper_class=structlog.BoundLogger)
    yield

"""A provider's own side: what was created, run, billed, and is left there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.ledger import now
from core.providers import (
    Intent,
    Outcome,
    Refused,
)
from core.providers.attempts import parse_custom_id
from tests.interleavings.scheduler import Option, Process, Scheduler


@dataclass(slots=True, eq=False)
class Made:
    """A batch as it is at the provider."""

    id: str
    shard_id: str
    token: str
    file_id: str
    custom_ids: list[str]
    created_at: datetime
    shows_at: datetime
    status: str = "in_progress"
    ran: dict[str, Outcome] = field(default_factory=dict)
    refusal: Refused | None = None

    @property
    def open(self) -> bool:
        return self.status in ("in_progress", "cancelling")


@dataclass(slots=True, eq=False)
class Flying:
    """A create whose caller hears no answer any more: it may still land, until a moment."""

    create: Callable[[float], Made]
    until: float
    process: Process
    awaited: bool = True
    """Whether its caller, if it lives, still listens."""


class Truth:
    """The provider's own side, whoever calls it."""

    def __init__(self, loop: Scheduler, *, uploads: bool, pace: tuple[float, float]) -> None:
        """`uploads`: it takes files, and keeps a token; else it is known by time and count.
        `pace`: how readily it gets on, and for how many seconds it leaves a batch alone."""
        self.pace, self.rest = pace
        self.loop = loop
        self.uploads = uploads
        self.batches: dict[str, Made] = {}
        self.files: dict[str, str] = {}
        self.inputs: dict[str, list[str]] = {}
        self.flying: list[Flying] = []
        self.billed: Counter[int] = Counter()
        self.refusals = 0
        self._numbers = 0

    def new_id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}_{self._numbers}"

    def upload(self, intent: Intent, spool: Path) -> str:
        file_id = self.new_id("file")
        self.files[file_id] = intent.upload_name
        self.inputs[file_id] = custom_ids(spool)
        return file_id

    def create(self, intent: Intent, file_id: str, ids: Sequence[str], lag: float) -> Made:
        moment = now()
        made = Made(
            self.new_id("batch"),
            intent.shard_id,
            intent.token,
            file_id,
            [*ids],
            moment,
            moment + timedelta(seconds=lag),
        )
        self.batches[made.id] = made
        return made

    def run(self, made: Made, outcome: Outcome) -> None:
        """One more of its lines."""
        custom_id = next(each for each in made.custom_ids if each not in made.ran)
        made.ran[custom_id] = outcome
        if outcome is not Outcome.RETRYABLE:
            parsed = parse_custom_id(custom_id)
            assert parsed is not None
            self.billed[parsed[2]] += 1

    def end(self, made: Made, status: str) -> None:
        if status == "completed":
            while len(made.ran) < len(made.custom_ids):
                self.run(made, Outcome.SUCCEEDED)
        made.status = status

    def fail(self, made: Made, refusal: Refused) -> None:
        made.status, made.refusal = "failed", refusal

    def options(self) -> list[Option]:
        """What could happen at the provider by itself."""
        found: list[Option] = []
        faulty = self.loop.schedule.faulty
        for made in self.batches.values():
            if not made.open or self._ready_at(made) > now():
                continue
            label = f"provider {made.id}"
            left = len(made.custom_ids) - len(made.ran)
            if made.status == "in_progress" or not left:
                found.append(
                    Option(f"{label} completes", _do(self.end, made, "completed"), self.pace)
                )
            else:
                found.append(
                    Option(f"{label} is cancelled", _do(self.end, made, "cancelled"), self.pace)
                )
            if left > 1:
                found.append(
                    Option(f"{label} runs", _do(self.run, made, Outcome.SUCCEEDED), self.pace)
                )
            if not faulty:
                continue
            odd: list[tuple[str, Callable[[], None]]] = []
            if left:
                odd.append(("fails a line", _do(self.run, made, Outcome.FAILED)))
                odd.append(("fails a line for now", _do(self.run, made, Outcome.RETRYABLE)))
                odd.append(("expires", _do(self.end, made, "expired")))
            if not made.ran and made.status == "in_progress" and self.uploads:
                for each in (_refusal(True), _refusal(False)):
                    kind = "for now" if each.transient else "for good"
                    odd.append((f"refuses it {kind}", _do(self.fail, made, each)))
            found += [Option(f"{label} {text}", act, 0.5, fault=True) for text, act in odd]
        for each in [*self.flying]:
            lost = self.loop.schedule.calm and (each.process.dead or not each.awaited)
            if lost or each.until < self.loop.time():
                self.flying.remove(each)
                continue
            if faulty:
                found.append(
                    Option("provider takes a create late", self._landing(each), 2.0, fault=True)
                )
        return found

    def _ready_at(self, made: Made) -> datetime:
        return made.created_at + timedelta(seconds=self.rest)

    def dues(self) -> list[float]:
        """Seconds from now until it goes on by itself."""
        waits = [self._ready_at(made) - now() for made in self.batches.values() if made.open]
        waits += [timedelta(seconds=each.until - self.loop.time()) for each in self.flying]
        return [wait.total_seconds() for wait in waits]

    def _landing(self, flying: Flying) -> Callable[[], None]:
        def land() -> None:
            self.flying.remove(flying)
            flying.create(0.0)

        return land


def custom_ids(spool: Path) -> list[str]:
    """Of the lines that a spool holds."""
    return [json.loads(line)["custom_id"] for line in spool.read_text().splitlines()]


def _refusal(transient: bool) -> Refused:
    return Refused("refused_late", "It was refused after a look at it.", transient=transient)


def _do(function: Callable[..., None], *args: Any) -> Callable[[], None]:
    return lambda: function(*args)

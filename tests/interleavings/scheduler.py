"""One schedule of a run: whatever waits, waits at a gate, and one thing at a time goes on.

The loop's clock stands still while anything runs. When all tasks wait, `Scheduler.idle` lists what
could happen next, and the schedule chooses: a gate opens, a message is delivered, the provider gets
on, somebody dies, the clock goes forward to what is due next. So a run is a function of its
choices, and these of the seed.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.simulation.virtual_time import VirtualLoop

_SCENES: Sequence[Sequence[str]] = (
    (),
    ("answer to create = lost",),
    ("answer to create = lost", "bus repeats submit"),
    ("answer to create = lost", "user wants cancel"),
    ("call create = hangs",),
    ("call create = hangs", "takes a create late"),
    ("takes a create late", "bus repeats submit"),
    ("call create = shows late",),
    ("call create", "dies", "takes a create late"),
    ("fails a line for now",),
    ("refuses it for now",),
    ("answer to create", "user wants cancel"),
    ("call results", "stands still"),
)
"""What happens in a run as soon as it can, one after the other: most of what follows it would be
met seldom."""
_IN_DOUBT = ("answer to create = lost", "bus repeats submit")
_WORKERS = ("dispatcher", "collector")
_NUMBERS = re.compile(r"\d+")
_ODDITY, _MOST_ODDITY = 0.08, 0.4


@dataclass(frozen=True, slots=True)
class Option:
    """Something that could happen next."""

    label: str
    act: Callable[[], None]
    weight: float = 1.0
    fault: bool = False
    """Spends one of the run's faults."""


@dataclass(slots=True, eq=False)
class Process:
    """What dies, or stands still, as a whole."""

    name: str
    dead: bool = False
    stalled: bool = False

    @property
    def kind(self) -> str:
        return self.name.rstrip("0123456789")


@dataclass(slots=True, eq=False)
class Gate:
    """Where a task waits to be let on."""

    process: Process
    label: str
    opened: asyncio.Future[str]
    answers: Sequence[str]
    """What it may be told when it opens; the first is the boring one, others are faults."""
    oddity: float = 1.0
    """The weight of each of the others."""
    deadline: float | None = None
    """When it opens by itself, with the last of its answers at the latest."""


@dataclass
class Schedule:
    """The choices of one run: of a seed, or as they are given; past these, the boring ones."""

    seed: int
    given: Sequence[int] | None = None
    steps: int = 250
    """After so many choices nothing odd happens any more."""
    faults: int = 10
    made: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance = self._chance = random.Random(f"schedule {self.seed}")
        # Some runs stay with one task for long, others change with each gate.
        self._loyalty = chance.choice((0.0, 0.5, 0.8, 0.95))
        self._hurry = chance.choice((0.02, 0.1, 0.4))
        self._faults = chance.randint(0, self.faults)
        self.steps = chance.randint(self.steps // 5, self.steps)
        self._last = "nobody "
        self._scene = [*(_IN_DOUBT if self.in_doubt else chance.choice(_SCENES))]
        self._likings: dict[str, float] = {}

    def choose(self, options: Sequence[Option]) -> Option:
        """The first of the options is the boring one, and faults are the last of them: where a
        schedule is given, there may be more of these than when it was drawn."""
        number = len(self.made)
        if self.given is not None:
            picked = self.given[number] if number < len(self.given) else 0
            picked = picked if picked < len(options) else 0
        elif self.calm:
            picked = 0
        else:
            picked = self._drawn(options)
        chosen = options[picked]
        if not self.calm:
            self.made.append(picked)
        self.labels.append(chosen.label)
        if not chosen.fault and chosen.label.startswith(_WORKERS):
            self._last = chosen.label.partition(" ")[0] + " "
        if chosen.fault:
            self._faults -= 1
        return chosen

    @property
    def in_doubt(self) -> bool:
        """Whether this is one of the runs in which several ask what became of a create, at a
        provider that can tell only once its batch has ended."""
        return self.seed % 4 == 0

    @property
    def calm(self) -> bool:
        """Whether all goes its ordinary way from now on."""
        if self.given is not None:
            return len(self.made) >= len(self.given)
        return len(self.made) >= self.steps

    @property
    def faulty(self) -> bool:
        """Whether a fault may be among the options."""
        return not self.calm and (self.given is not None or self._faults > 0)

    def _drawn(self, options: Sequence[Option]) -> int:
        chance = self._chance
        for number, option in enumerate(options):
            if self._scene and self._scene[0] in option.label:
                del self._scene[0]
                return number
        odd = [number for number, option in enumerate(options) if option.fault]
        weights = [options[number].weight * self._liking(options[number]) for number in odd]
        if sum(weights) and chance.random() < min(sum(weights) * _ODDITY, _MOST_ODDITY):
            return chance.choices(odd, weights)[0]
        usual = [number for number, option in enumerate(options) if not option.fault]
        if chance.random() < self._loyalty:
            for number in usual:
                if options[number].label.startswith(self._last):
                    return number
        weights = [
            options[number].weight * (self._hurry if options[number].label == "clock" else 1.0)
            for number in usual
        ]
        return chance.choices(usual, weights)[0]

    def _liking(self, option: Option) -> float:
        """Each run has its own likings among the faults: one of all kinds seldom meets its like."""
        kind = _NUMBERS.sub("", option.label)
        if kind not in self._likings:
            chance = random.Random(f"liking {self.seed} {kind}")
            self._likings[kind] = chance.choice((0.0, 0.3, 1.0, 4.0))
        return self._likings[kind]


class Scheduler(VirtualLoop):
    """The loop that a run has: it goes on as the schedule says."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.gates: list[Gate] = []
        self.over = False
        self.further: Callable[[], Sequence[Option]] = lambda: ()
        """What else could happen now."""
        self.next_due: Callable[[], float] = lambda: self.moment
        """When something is due that is no timer of the loop's."""

    async def gate(
        self,
        process: Process,
        label: str,
        *answers: str,
        oddity: float = 1.0,
        deadline: float | None = None,
    ) -> str:
        """Wait until the schedule lets a task on; returns what it is told."""
        if self.over:
            raise asyncio.CancelledError
        gate = Gate(process, label, self.create_future(), answers or ("",), oddity, deadline)
        self.gates.append(gate)
        try:
            return await gate.opened
        finally:
            if gate in self.gates:
                self.gates.remove(gate)

    def open(self, gate: Gate, answer: str) -> None:
        """Let its task on."""
        self.gates.remove(gate)
        if not gate.opened.done():
            gate.opened.set_result(answer)

    def idle(self, timeout: float | None) -> None:
        if self.over:
            return
        options = [*self._open_gates(), *self.further()]
        target = self._next_moment(timeout)
        options.append(Option("clock", lambda: self._forward(target)))
        self.schedule.choose(sorted(options, key=lambda option: option.fault)).act()

    def _open_gates(self) -> list[Option]:
        options: list[Option] = []
        faulty = self.schedule.faulty
        for gate in self.gates:
            if gate.process.dead or gate.process.stalled:
                continue
            for number, answer in enumerate(gate.answers):
                label = f"{gate.process.name} {gate.label}" + (f" = {answer}" if answer else "")
                act = _opening(self, gate, answer)
                if not number:
                    options.append(Option(label, act, 3.0))
                elif faulty:
                    options.append(Option(label, act, gate.oddity, fault=True))
        return options

    def _next_moment(self, timeout: float | None) -> float:
        timer = None if timeout is None else self.moment + timeout
        deadlines = [gate.deadline for gate in self.gates if not gate.process.dead]
        moments = [each for each in (timer, self.next_due(), *deadlines) if each is not None]
        return max(min(moments), self.moment)

    def _forward(self, moment: float) -> None:
        self.moment = moment
        for gate in [*self.gates]:
            late = gate.deadline is not None and gate.deadline <= moment
            if late and not gate.process.dead:
                self.open(gate, gate.answers[-1])


def _opening(scheduler: Scheduler, gate: Gate, answer: str) -> Callable[[], None]:
    return lambda: scheduler.open(gate, answer)


class Gated:
    """Stands before an object of the product: each call of a coroutine of it waits at a gate."""

    def __init__(
        self, real: Any, loop: Scheduler, process: Process, name: str, parts: Sequence[str] = ()
    ) -> None:
        self._real = real
        self._loop = loop
        self._process = process
        self._name = name
        self._parts = frozenset(parts)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name in self._parts:
            found = Gated(found, self._loop, self._process, name)
        elif inspect.iscoroutinefunction(found):
            found = self._behind_gate(found, f"{self._name}.{name}")
        setattr(self, name, found)
        return found

    def _behind_gate(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        if label.endswith((".overdue", "remote_files.due")):
            # A sweep asks often and for little; what it does with what it finds has its gates.
            return function

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._loop.gate(self._process, label)
            return await function(*args, **kwargs)

        return call

"""What work costs: fitted to measured runs, and predicted for others. Pure functions.

A cost is linear in four numbers: batches, shards (batches at a provider), lines, and megabytes
of input. Each run gives one equation for each resource; the four costs are those that come
closest to all runs in proportion, none below zero.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Work:
    """How much was done, or is to be done."""

    batches: float
    shards: float
    lines: float
    megabytes: float
    """Of input, 10^6 bytes each."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one batch, one shard, one line and one megabyte of input; they add up."""

    batch: float
    shard: float
    line: float
    megabyte: float

    def of(self, work: Work) -> float:
        """What so much work costs."""
        found: float = sum(
            each * number for each, number in zip(astuple(self), astuple(work), strict=True)
        )
        return found


UNITS: Mapping[str, str] = {
    "gateway": "CPU s",
    "dispatcher": "CPU s",
    "collector": "CPU s",
    "postgresql": "CPU s",
    "nats": "CPU s",
    "object storage": "CPU s",
    "ledger transactions": "",
    "bus messages": "",
    "bus bytes": "bytes",
    "ledger log bytes": "bytes",
    "object bytes": "bytes",
    "result bytes": "bytes",
}
"""What is measured, with its unit. Ledger transactions are those that write. `nats` is of all
three nodes; so are the bus's messages, copies between nodes, acknowledgements and requests for
work included."""
SUMS: Mapping[str, Sequence[str]] = {
    "our services": ("gateway", "dispatcher", "collector"),
    "stores": ("postgresql", "nats", "object storage"),
    "ledger transactions": ("ledger transactions",),
    "bus messages": ("bus messages",),
    "object bytes": ("object bytes",),
    "result bytes": ("result bytes",),
}
"""Sums that a prediction is judged by. A single process's CPU is noise on a shared machine, and
the bytes of the log and of the bus hang on checkpoints and timers."""

Usage = Mapping[str, float]
"""How much of each of UNITS."""
Costs = Mapping[str, Cost]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Costs, and where and when they were measured."""

    machine: str
    day: str
    costs: Costs
    idle: Usage
    """In each second in which nothing is done, of one replica of each service."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        content = {**asdict(self), "costs": {name: asdict(c) for name, c in self.costs.items()}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read what `save` has written."""
        content = json.loads(path.read_text())
        costs = {name: Cost(**cost) for name, cost in content["costs"].items()}
        return cls(content["machine"], content["day"], costs, content["idle"])


def fitted(runs: Sequence[tuple[Work, Usage]]) -> Costs:
    """The costs that explain the runs best. As many runs as a cost has numbers, at least."""
    return {name: _fitted([(work, usage[name]) for work, usage in runs]) for name in UNITS}


def predicted(costs: Costs, work: Work) -> Usage:
    """What so much work will use."""
    return {name: cost.of(work) for name, cost in costs.items()}


def ratios(expected: Usage, used: Usage) -> Mapping[str, float]:
    """What was predicted of each of SUMS, as a multiple of what was used."""
    return {
        name: sum(expected[each] for each in parts) / sum(used[each] for each in parts)
        for name, parts in SUMS.items()
    }


def _fitted(runs: Sequence[tuple[Work, float]]) -> Cost:
    # In proportion: what a small run used counts as much as what a large one did.
    rows = [([each / used for each in astuple(work)], 1.0) for work, used in runs if used > 0]
    size = len(fields(Cost))
    best, least = [0.0] * size, float(len(rows))
    for chosen in _subsets(size):
        found = _least_squares([([row[i] for i in chosen], wanted) for row, wanted in rows])
        if found is None or min(found) < 0:
            continue
        cost = [0.0] * size
        for place, value in zip(chosen, found, strict=True):
            cost[place] = value
        missed = sum(
            (sum(a * b for a, b in zip(row, cost, strict=True)) - wanted) ** 2
            for row, wanted in rows
        )
        if missed < least:
            best, least = cost, missed
    return Cost(*best)


def _subsets(size: int) -> list[tuple[int, ...]]:
    return [
        chosen
        for count in range(1, size + 1)
        for chosen in itertools.combinations(range(size), count)
    ]


def _least_squares(rows: Sequence[tuple[Sequence[float], float]]) -> list[float] | None:
    """By the normal equations; None where they have no single solution."""
    if not rows:
        return None
    size = len(rows[0][0])
    # Of one order of magnitude each, so that none is lost beside the others.
    scales = [max(abs(row[i]) for row, _ in rows) or 1.0 for i in range(size)]
    scaled = [([row[i] / scales[i] for i in range(size)], wanted) for row, wanted in rows]
    table = [
        [sum(row[i] * row[j] for row, _ in scaled) for j in range(size)]
        + [sum(row[i] * wanted for row, wanted in scaled)]
        for i in range(size)
    ]
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(table[r][i]))
        if abs(table[pivot][i]) < 1e-12:
            return None
        table[i], table[pivot] = table[pivot], table[i]
        for other in range(size):
            if other != i:
                factor = table[other][i] / table[i][i]
                table[other] = [a - factor * b for a, b in zip(table[other], table[i], strict=True)]
    return [table[i][size] / table[i][i] / scales[i] for i in range(size)]

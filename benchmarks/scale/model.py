"""`python -m benchmarks.scale.model`: what an installation of a size needs, and what ends first.

From the costs that `make bench-scale SCALE=model` has measured; docs/scaling.md shows the tables.
Pure functions; what is assumed beside the costs stands at the top.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale.compared import columns
from benchmarks.scale.costs import UNITS, Calibration, Usage, Work, predicted

MEASURED = Path(__file__).with_name("costs.json")
DAYS_LINES = (1e6, 1e7, 1e8, 1e9)
_DAY = 86_400.0
_CPU = [name for name, unit in UNITS.items() if unit == "CPU s"]

_BUSY = 0.6
"""Of a core, at the peak: beyond it, queues grow faster than work."""
_POOL = 10
"""Connections of a replica to PostgreSQL (POLYBATCH_DATABASE_POOL_SIZE)."""
_FEWEST_REPLICAS = 2
_MOST_WATCHES = 20_000
"""At one collector (POLYBATCH_MAX_WATCHES)."""
_KEPT_DAYS = 30
_LARGEST_DATABASE = 64
"""Cores of a machine that one can rent."""
_LARGEST_BUS = 3 * 8
"""Cores of three NATS nodes."""
_CREATES_AN_HOUR = 2_000
"""OpenAI's, for one organisation."""
_SHARD_LINES = 50_000
"""OpenAI's, in one batch."""
_LISTED = 10_000
"""Batches that a look by list shows: a hundred pages (core/providers/list_search.py)."""
_PROGRESS = 100 / 15
"""Ledger transactions a second and provider, at the most: what one page of a list, read each 15 s
(core/pipeline/poll_times.py), can show to have gone on."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What a day's lines are like."""

    lines_of_batch: float = 5_000
    shards_of_batch: float = 2
    """By providers and models; more where a batch has more than so many times 50,000 lines."""
    line_bytes: float = 1_000
    tokens_of_line: float = 250
    peak: float = 3.0
    """The busiest hour, of the mean."""
    hours_at_provider: float = 4.0
    providers: int = 2
    watched: float = 1.0
    """Watches open, of each batch under way."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a day of so many lines needs."""

    lines: float
    replicas: Mapping[str, int]
    """By service."""
    cores: Usage
    """Busy at the peak, by UNITS with CPU s."""
    transactions: float
    """Of the ledger, that write, a second at the peak."""
    messages: float
    """That NATS's nodes take in, a second at the peak."""
    storage_bytes: float
    """Into object storage, a second at the peak."""
    stored_bytes: float
    """There, after _KEPT_DAYS."""
    database_cores: int
    database_bytes: float
    """After _KEPT_DAYS, at the most: all that was ever logged."""
    connections: int
    watches: float
    shards_in_flight: float
    """At one provider."""
    creates: float
    """At one provider, in the busiest hour."""
    enqueued_tokens: float
    """At one provider."""

    @property
    def load(self) -> Mapping[str, float]:
        """Of what cannot be had in any number: how much of it is used at the peak."""
        return {
            "PostgreSQL": self.cores["postgresql"] / (_BUSY * _LARGEST_DATABASE),
            "the bus": self.cores["nats"] / (_BUSY * _LARGEST_BUS),
            "creates an hour": self.creates / _CREATES_AN_HOUR,
            "batches in a list": self.shards_in_flight / _LISTED,
        }

    @property
    def first(self) -> tuple[str, float]:
        """What is used up first, and to what degree."""
        return max(self.load.items(), key=lambda each: each[1])


def need(lines: float, calibration: Calibration, mix: Mix) -> Need:
    """What so many lines a day need."""
    batches = lines / mix.lines_of_batch
    shards = batches * max(mix.shards_of_batch, math.ceil(mix.lines_of_batch / _SHARD_LINES))
    megabytes = lines * mix.line_bytes / 1e6
    day = predicted(calibration.costs, Work(batches, shards, lines, megabytes))
    second = {name: used * mix.peak / _DAY for name, used in day.items()}
    in_flight = shards * mix.peak * mix.hours_at_provider / 24
    watches = batches * mix.peak * mix.hours_at_provider / 24 * mix.watched
    # A look writes as much as the other transactions of a shard, a transaction each.
    looks = min(in_flight / mix.providers / 15, _PROGRESS) * mix.providers
    of_shard = calibration.costs["ledger transactions"].shard
    cores = {name: second[name] + looks * calibration.costs[name].shard / of_shard for name in _CPU}
    replicas = {
        name: max(_FEWEST_REPLICAS, math.ceil(cores[name] / _BUSY))
        for name in ("gateway", "dispatcher", "collector")
    }
    replicas["collector"] = max(replicas["collector"], math.ceil(watches / _MOST_WATCHES))
    for name, number in replicas.items():
        cores[name] += calibration.idle[name] * number
    return Need(
        lines=lines,
        replicas=replicas,
        cores=cores,
        transactions=second["ledger transactions"] + looks,
        messages=second["bus messages"],
        storage_bytes=second["object bytes"],
        stored_bytes=day["object bytes"] * _KEPT_DAYS,
        database_cores=max(2, math.ceil(cores["postgresql"] / _BUSY)),
        database_bytes=day["ledger log bytes"] * _KEPT_DAYS,
        connections=_POOL * sum(replicas.values()),
        watches=watches,
        shards_in_flight=in_flight / mix.providers,
        creates=shards * mix.peak / 24 / mix.providers,
        enqueued_tokens=lines
        * mix.tokens_of_line
        * mix.peak
        * mix.hours_at_provider
        / 24
        / mix.providers,
    )


def stages(calibration: Calibration, mix: Mix) -> str:
    """What a line costs in each stage, with its share of a shard and a batch."""
    lines = 1e6
    batches = lines / mix.lines_of_batch
    work = Work(batches, batches * mix.shards_of_batch, lines, lines * mix.line_bytes / 1e6)
    used = predicted(calibration.costs, work)
    size, results = mix.line_bytes, used["result bytes"] / lines
    moved = {
        "gateway": size,
        "dispatcher": 2 * size,
        "collector": 3 * results,
        "postgresql": used["ledger log bytes"] / lines,
        "nats": used["bus bytes"] / lines,
        "object storage": used["object bytes"] / lines,
    }
    rows: list[Sequence[str]] = [
        ("stage", "a batch", "a shard", "a line", "a megabyte", "CPU a line", "bytes a line")
    ]
    for name in _CPU:
        cost = calibration.costs[name]
        rows.append(
            (
                *(name, f"{cost.batch * 1e3:.1f} ms", f"{cost.shard * 1e3:.1f} ms"),
                *(f"{cost.line * 1e6:.1f} us", f"{cost.megabyte * 1e3:.1f} ms"),
                *(f"{used[name] / lines * 1e6:.1f} us", f"{moved[name]:,.0f}"),
            )
        )
    for name in ("ledger transactions", "bus messages"):
        cost = calibration.costs[name]
        rows.append(
            (
                *(name, f"{cost.batch:.1f}", f"{cost.shard:.1f}", f"{cost.line:.2g}"),
                *(f"{cost.megabyte:.2g}", f"{used[name] / lines:.3g} of them", ""),
            )
        )
    return columns(rows)


def sizes(needs: Sequence[Need]) -> str:
    """A column for each size."""
    first = [need.first for need in needs]
    table: list[Sequence[str]] = [
        ("lines a day", *(_millions(need.lines) for need in needs)),
        ("gateways", *(str(need.replicas["gateway"]) for need in needs)),
        ("dispatchers", *(str(need.replicas["dispatcher"]) for need in needs)),
        ("collectors", *(str(need.replicas["collector"]) for need in needs)),
        ("PostgreSQL: cores", *(str(need.database_cores) for need in needs)),
        ("PostgreSQL: disk, 30 days", *(_bytes(need.database_bytes) for need in needs)),
        ("PostgreSQL: connections", *(str(need.connections) for need in needs)),
        ("ledger transactions a second", *(f"{need.transactions:,.1f}" for need in needs)),
        ("bus messages a second", *(f"{need.messages:,.0f}" for need in needs)),
        ("NATS: cores of all nodes", *(f"{need.cores['nats'] / _BUSY:.1f}" for need in needs)),
        ("object storage: a second", *(_bytes(need.storage_bytes) for need in needs)),
        ("object storage: 30 days", *(_bytes(need.stored_bytes) for need in needs)),
        ("watches open", *(f"{need.watches:,.0f}" for need in needs)),
        ("batches at one provider", *(f"{need.shards_in_flight:,.0f}" for need in needs)),
        ("creates there, busiest hour", *(f"{need.creates:,.0f}" for need in needs)),
        (
            "tokens enqueued there",
            *(f"{need.enqueued_tokens / 1e6:,.0f} million" for need in needs),
        ),
        ("used up first", *(name for name, _ in first)),
        ("... to", *(f"{share:.0%}" for _, share in first)),
    ]
    return columns(table)


def _millions(number: float) -> str:
    return f"{number / 1e6:,.0f} million"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.model",
        description="Prints what a line costs, and what installations need.",
    )
    parser.add_argument(
        "--costs", type=Path, default=MEASURED, metavar="FILE", help="as measured (%(default)s)"
    )
    parser.add_argument("--lines-of-batch", type=float, default=Mix().lines_of_batch, metavar="N")
    parser.add_argument("--line-bytes", type=float, default=Mix().line_bytes, metavar="N")
    arguments = parser.parse_args()
    calibration = Calibration.read(arguments.costs)
    mix = Mix(lines_of_batch=arguments.lines_of_batch, line_bytes=arguments.line_bytes)
    print(f"Measured on {calibration.day}: {calibration.machine}")
    print(
        f"Batches of {mix.lines_of_batch:,.0f} lines of {mix.line_bytes:,.0f} bytes, "
        f"{mix.shards_of_batch:.0f} shards each, {mix.hours_at_provider:.0f} h at one of "
        f"{mix.providers} providers; the busiest hour has {mix.peak:.0f} times the mean.\n"
    )
    print(stages(calibration, mix))
    print()
    print(sizes([need(lines, calibration, mix) for lines in DAYS_LINES]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

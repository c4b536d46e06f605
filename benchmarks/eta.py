"""How often the end of a batch lies in the range that was told: seeded worlds, in virtual time.

A world has a law by which its shards take as long as they do: heavy-tailed, of one size or of many,
alike within a batch or not, drifting with the hour or not. Batches run in it one after another; at
moments of their run it is asked when they end, from the durations that are known by then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure
from benchmarks.options import Options
from core.completion import Duration, Known, Pending, estimate

_KNOWN_AT_MOST = 200
LOW, HIGH = 0.85, 0.95


@dataclass(frozen=True)
class World:
    """How long shards take, in seconds: a median, with a spread of its logarithm."""

    name: str
    spread: float = 0.6
    stragglers: float = 0.0
    """Share that takes eight times as long."""
    alike: float = 0.5
    """Correlation of shards of one batch."""
    by_size: float = 0.0
    """Power of a shard's lines that its median grows with."""
    drift: float = 0.0
    """Spread of what a provider's load does to all, half of it gone after ten batches."""
    shards: tuple[int, ...] = (1,)
    room: int = 0
    """Shards that run at a time; 0: all."""
    known: int = _KNOWN_AT_MOST
    """Durations that are kept."""


WORLDS = (
    World("one shard"),
    World("one shard, five known", known=5),
    World("one shard, twelve known", known=12),
    World("stragglers", spread=0.4, stragglers=0.08),
    World("heavy tails", spread=1.4),
    World("drifting load", drift=0.3),
    World("by size", by_size=0.5),
    World("many shards", shards=(2, 4, 8, 16)),
    World("many shards, alike", alike=0.9, shards=(2, 4, 8)),
    World("many shards, not alike", alike=0.1, shards=(2, 4, 8)),
    World("little room", shards=(4, 8, 12), room=2),
)


def covered(world: World, seed: int, asked: int = 400) -> tuple[float, float]:
    """(share of ends within the 90 % range, within the 50 % range)."""
    wide = narrow = total = 0
    for end, told in _asked(world, random.Random(f"{world.name}.{seed}"), asked):
        total += 1
        wide += told[2] <= end <= told[3]
        narrow += told[0] <= end <= told[1]
    return wide / total, narrow / total


def _asked(
    world: World, rng: random.Random, asked: int
) -> Iterator[tuple[float, tuple[float, float, float, float]]]:
    known: list[Duration] = []
    load = 0.0
    keep = 0.5**0.1
    while asked:
        load = keep * load + math.sqrt(1 - keep**2) * rng.gauss(0, world.drift)
        lines = [int(10 ** rng.uniform(1, 4))] * rng.choice(world.shards)
        takes = _takes(world, rng, lines, load)
        starts = _starts(takes, world.room)
        ends = [start + each for start, each in zip(starts, takes, strict=True)]
        if len(known) >= world.known or len(known) == _KNOWN_AT_MOST:
            # At once, or at a moment that has nothing to do with how long this one takes.
            moment = rng.choice((0.0, 600 * math.exp(rng.gauss(0, 1))))
            if moment < max(ends):
                asked -= 1
                yield max(ends) - moment, _told(world, known, lines, starts, ends, moment)
        known += [Duration("acct", each, took) for each, took in zip(lines, takes, strict=True)]
        del known[: max(0, len(known) - world.known)]


def _takes(world: World, rng: random.Random, lines: Sequence[int], load: float) -> list[float]:
    common = rng.gauss(0, 1)
    found = []
    for each in lines:
        own = math.sqrt(world.alike) * common + math.sqrt(1 - world.alike) * rng.gauss(0, 1)
        median = 600 * (each / 300) ** world.by_size
        slow = 8.0 if rng.random() < world.stragglers else 1.0
        found.append(slow * median * math.exp(load + world.spread * own))
    return found


def _starts(takes: Sequence[float], room: int) -> list[float]:
    free = [0.0] * (room or len(takes))
    starts = []
    for each in takes:
        slot = min(range(len(free)), key=free.__getitem__)
        starts.append(free[slot])
        free[slot] += each
    return starts


def _told(
    world: World,
    known: Sequence[Duration],
    lines: Sequence[int],
    starts: Sequence[float],
    ends: Sequence[float],
    moment: float,
) -> tuple[float, float, float, float]:
    pending = []
    expected = {each: Known(known).of_size("acct", each) for each in set(lines)}
    for each, start, end in zip(lines, starts, ends, strict=True):
        if end <= moment:
            continue
        durations = expected[each]
        assert durations is not None
        waits = "provider" if start > moment else ""
        pending.append(
            Pending(durations, max(0.0, moment - start), waits_for=waits, group="provider")
        )
    found = estimate(pending)
    assert found is not None
    return found.likely_from, found.likely_until, found.range_from, found.range_until


async def measure(_options: Options) -> list[Figure]:
    """What share of ends lay in the ranges, by world."""
    figures = []
    for world in WORLDS:
        wide, narrow = covered(world, seed=1, asked=2000)
        name = f"ETA, {world.name}: ends within"
        share = 100 * wide
        figures += [
            Figure(f"{name} the 90 % range", share, "%", 100 * LOW, True, "the promise"),
            Figure(f"{name} the 90 % range, at most", share, "%", 100 * HIGH, False, "the promise"),
            Figure(f"{name} the 50 % range", 100 * narrow, "%"),
        ]
    return figures

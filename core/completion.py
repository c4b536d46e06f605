"""When a batch should end: from how long others took, as a range that holds.

Pure functions. A batch ends with the last of its shards. How long a shard takes is drawn from what
others of its provider and model took, given that it runs for so long already; what waits for room
takes the place of what ends first. Drawn many times, that gives the range.

The draws are the same each time, so an estimate moves with what is known and not by chance.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, fmean, stdev

LEAST_KNOWN = 5
"""Durations without which nothing is said."""

_ENOUGH = 20
"""Durations of the account, or of a like size, from which on no others are looked at."""
_LIKE_SIZE = 4.0
_DRAWS = 199
_MOST_SHARDS = 64
_ALIKE = 0.5
"""Correlation of shards that run at the same time: a provider that is slow is slow for all."""
_RANGES = (0.25, 0.75, 0.05, 0.95)
_NORMAL = NormalDist()
_ALMOST_NONE, _ALMOST_ALL = 1e-6, 1 - 1e-6
_TAIL = 1e-3
_TAIL_EXPONENT = 1.5
"""Of what runs longer than nearly all did: the longer it has run, the longer it still may."""
_LEAST_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class Duration:
    """How long one shard took at its provider."""

    account_id: str
    lines: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Pending:
    """A shard that has not ended."""

    durations: Durations
    elapsed: float = 0.0
    """Seconds since it was sent; 0 where it was not."""
    waits_for: str = ""
    """Whose end it waits for, as `group` of another: there is no room for both. Empty: for nothing."""
    group: str = ""
    left: float = 1.0
    """Share of its lines that are still to be run; for what is run line by line."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds from now on."""

    likely_from: float
    likely_until: float
    range_from: float
    range_until: float


class Durations:
    """How long something takes, learned from some durations: five or more."""

    def __init__(self, seconds: Sequence[float]) -> None:
        if len(seconds) < LEAST_KNOWN:
            raise ValueError(f"{len(seconds)} durations: {LEAST_KNOWN} are needed")
        self._logs = sorted(math.log(max(each, 0.1)) for each in seconds)
        self._mean = fmean(self._logs)
        count = len(self._logs)
        self._spread = max(stdev(self._logs), _LEAST_SPREAD) * math.sqrt(1 + 1 / count)

    def quantile(self, share: float) -> float:
        """Seconds that a share of all such takes at the most, from 0 to 1.

        Between the shortest and the longest known one as these are spread; beyond them as
        Student's distribution of the logarithms has it, whose tails are the thicker the fewer are
        known.
        """
        logs, count = self._logs, len(self._logs)
        place = share * (count + 1)
        if 1 <= place <= count:
            below = min(int(place), count - 1)
            return math.exp(
                logs[below - 1] + (place - below) * (logs[below] - logs[below - 1])
            )
        beyond = self._mean + self._spread * _student(share, count - 1)
        return math.exp(min(logs[0], beyond) if place < 1 else max(logs[-1], beyond))

    def share_within(self, seconds: float) -> float:
        """The reverse."""
        low, high = _ALMOST_NONE, _ALMOST_ALL
        if seconds <= self.quantile(low):
            return 0.0
        if seconds >= self.quantile(high):
            return high
        logs, count = self._logs, len(self._logs)
        log = math.log(seconds)
        after = bisect_right(logs, log)
        if 0 < after < count and logs[after] > logs[after - 1]:
            part = (log - logs[after - 1]) / (logs[after] - logs[after - 1])
            return (after + part) / (count + 1)
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.quantile(middle) < seconds else (low, middle)
        return low

    def remaining(self, share: float, elapsed: float, within: float) -> float:
        """Seconds that a share of those that run for `elapsed` seconds still take at the most.

        `within`: share_within(elapsed).
        """
        if within >= 1 - _TAIL:
            longer: float = (1 - share) ** (-1 / _TAIL_EXPONENT) - 1
            return elapsed * longer
        return max(0.0, self.quantile(min(within + share * (1 - within), _ALMOST_ALL)) - elapsed)


def chosen(
    known: Sequence[Duration], account_id: str, lines: int, *, scaled: bool = False
) -> Durations | None:
    """What is to be expected of a shard of an account with so many lines; None: too little is known.

    Those of a like size where there are enough, and of these those of the account. `scaled`: as long
    as its lines are many, for what is run line by line.
    """
    if len(known) < LEAST_KNOWN:
        return None
    if scaled:
        like = known
    else:
        low, high = lines / _LIKE_SIZE, lines * _LIKE_SIZE
        like = [each for each in known if low <= each.lines <= high]
        like = like if len(like) >= _ENOUGH else known
    own = [each for each in like if each.account_id == account_id]
    pool = own if len(own) >= _ENOUGH else like
    return Durations(
        [each.seconds * (lines / max(each.lines, 1) if scaled else 1.0) for each in pool]
    )


def estimate(pending: Sequence[Pending]) -> Estimate | None:
    """When the last of some shards should end; None where there is none."""
    if not pending:
        return None
    shards = [(each, each.durations.share_within(each.elapsed)) for each in pending[:_MOST_SHARDS]]
    common, own = _draws()
    ends = sorted(
        _last_end(shards, common[number], own[number], number) for number in range(_DRAWS)
    )
    likely_from, likely_until, range_from, range_until = (
        ends[round(share * (_DRAWS + 1)) - 1] for share in _RANGES
    )
    return Estimate(likely_from, likely_until, range_from, range_until)


def _last_end(
    shards: Sequence[tuple[Pending, float]], common: float, own: Sequence[float], number: int
) -> float:
    """When the last one ends, in one of the draws."""
    last = 0.0
    rooms: dict[str, list[float]] = {}
    waiting: list[tuple[str, float]] = []
    spread = math.sqrt(1 - _ALIKE)
    # One shard alone is drawn evenly: the middle of each part of the distribution, once.
    alone = (number + 1) / (_DRAWS + 1)
    for place, (shard, within) in enumerate(shards):
        share = alone
        if len(shards) > 1:
            share = _NORMAL.cdf(math.sqrt(_ALIKE) * common + spread * own[place])
        takes = shard.left * shard.durations.remaining(share, shard.elapsed, within)
        if shard.waits_for:
            waiting.append((shard.waits_for, takes))
            continue
        if shard.group:
            heapq.heappush(rooms.setdefault(shard.group, []), takes)
        last = max(last, takes)
    for group, takes in waiting:
        room = rooms.setdefault(group, [0.0])
        end = room[0] + takes
        heapq.heapreplace(room, end)
        last = max(last, end)
    return last


@lru_cache(maxsize=1)
def _draws() -> tuple[list[float], list[list[float]]]:
    rng = random.Random(8)
    # What is common to all is drawn evenly as well, so that few draws are enough.
    common = [_NORMAL.inv_cdf((number + 1) / (_DRAWS + 1)) for number in range(_DRAWS)]
    return common, [[rng.gauss(0, 1) for _ in range(_MOST_SHARDS)] for _ in range(_DRAWS)]


def _student(share: float, freedom: int) -> float:
    """A quantile of Student's distribution, by its expansion about the normal one [Abramowitz and
    Stegun, 26.7.5]."""
    z = _NORMAL.inv_cdf(min(max(share, _ALMOST_NONE), _ALMOST_ALL))
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))

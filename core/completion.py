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
_MOST_EXPECTED = 200
_DRAWS = 99
_MOST_SHARDS = 64
_ALIKE = (0.98, 0.9, 0.5, 0.1)
"""Correlations of shards that run at the same time, of which each has its share of the draws: a
provider that is slow may be slow for all, and it is not known how much so."""
_RANGES = (0.25, 0.75, 0.05, 0.95)
_RANGES_OF_SEVERAL = (0.25, 0.75, 0.035, 0.965)
"""Wider, for what is not known of how alike shards are."""
_NORMAL = NormalDist()
_TAIL = 0.01
_STEPS = 1000
_TAIL_EXPONENT = 1.5
"""Of what runs longer than nearly all did: the longer it has run, the longer it still may."""
_LEAST_SPREAD = 0.05
_LEAST_SECONDS = 1e-3


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
    """Of which `group` one has to end first, as there is no room for both; empty: it waits not."""
    group: str = ""
    left: float = 1.0
    """So many times as long; for what is run line by line, the lines that are left."""


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
        self._logs = sorted(math.log(max(each, _LEAST_SECONDS)) for each in seconds)
        self._mean = fmean(self._logs)
        count = len(self._logs)
        self._spread = max(stdev(self._logs), _LEAST_SPREAD) * math.sqrt(1 + 1 / count)
        self._table = [self.quantile((step + 0.5) / _STEPS) for step in range(_STEPS)]
        self._usual = self.quantile(1 - _TAIL)

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
            return math.exp(logs[below - 1] + (place - below) * (logs[below] - logs[below - 1]))
        beyond = self._mean + self._spread * _student(share, count - 1)
        return math.exp(min(logs[0], beyond) if place < 1 else max(logs[-1], beyond))

    def share_within(self, seconds: float) -> float:
        """The reverse."""
        return bisect_right(self._table, seconds) / _STEPS

    def remaining(self, share: float, elapsed: float, within: float) -> float:
        """Seconds that a share of those that run for `elapsed` seconds still take at the most.

        `within`: share_within(elapsed).
        """
        step = int((within + share * (1 - within)) * _STEPS)
        left = self._table[min(step, _STEPS - 1)] - elapsed
        if elapsed > self._usual:
            # More and more by this alone, so that no estimate leaps.
            weight = min(1.0, elapsed / self._usual - 1)
            longer = (1 - share) ** (-1 / _TAIL_EXPONENT) - 1
            left = max(left, weight * elapsed * longer)
        return max(0.0, left)


class Known:
    """Durations of one model at one provider, and what is to be expected of another shard."""

    def __init__(self, durations: Sequence[Duration]) -> None:
        self._durations = durations
        self._expected: dict[tuple[str, int], Durations] = {}

    def of_size(self, account_id: str, lines: int) -> Durations | None:
        """How long a shard with about so many lines takes; None: too little is known.

        By those of a like size where there are enough, and of these those of the account.
        """
        if len(self._durations) < LEAST_KNOWN:
            return None
        size = max(lines, 1).bit_length()
        if (account_id, size) not in self._expected:
            low, high = 2 ** (size - 0.5) / _LIKE_SIZE, 2 ** (size - 0.5) * _LIKE_SIZE
            like = [each for each in self._durations if low <= each.lines <= high]
            like = like if len(like) >= _ENOUGH else [*self._durations]
            own = _own(like, account_id)
            self._keep((account_id, size), Durations([each.seconds for each in own]))
        return self._expected[account_id, size]

    def of_line(self, account_id: str) -> Durations | None:
        """The same of one line, of shards that take the longer the more they have."""
        if len(self._durations) < LEAST_KNOWN:
            return None
        if (account_id, 0) not in self._expected:
            own = _own(self._durations, account_id)
            seconds = [each.seconds / max(each.lines, 1) for each in own]
            self._keep((account_id, 0), Durations(seconds))
        return self._expected[account_id, 0]

    def _keep(self, key: tuple[str, int], found: Durations) -> None:
        if len(self._expected) >= _MOST_EXPECTED:
            self._expected.clear()
        self._expected[key] = found


def _own(durations: Sequence[Duration], account_id: str) -> Sequence[Duration]:
    own = [each for each in durations if each.account_id == account_id]
    return own if len(own) >= _ENOUGH else durations


def estimate(pending: Sequence[Pending]) -> Estimate | None:
    """When the last of some shards should end; None where there is none."""
    if not pending:
        return None
    shards = [(each, each.durations.share_within(each.elapsed)) for each in pending[:_MOST_SHARDS]]
    ranges = _RANGES_OF_SEVERAL
    if len(shards) == 1:
        ranges = _RANGES
        # Evenly: the middle of each part of the distribution, once.
        draws: Sequence[Sequence[float]] = [[(n + 1) / (_DRAWS + 1)] for n in range(_DRAWS)]
    else:
        draws = _draws()
    ends = sorted(_last_end(shards, shares) for shares in draws)
    likely_from, likely_until, range_from, range_until = (
        ends[round(share * (_DRAWS + 1)) - 1] for share in ranges
    )
    return Estimate(likely_from, likely_until, range_from, range_until)


def _last_end(shards: Sequence[tuple[Pending, float]], shares: Sequence[float]) -> float:
    """When the last one ends, in one of the draws."""
    last = 0.0
    rooms: dict[str, list[float]] = {}
    waiting: list[tuple[str, float]] = []
    for (shard, within), share in zip(shards, shares, strict=False):
        takes = shard.left * shard.durations.remaining(share, shard.elapsed, within)
        if shard.waits_for:
            waiting.append((shard.waits_for, takes))
            continue
        if shard.group:
            rooms.setdefault(shard.group, []).append(takes)
        last = max(last, takes)
    for group, takes in waiting:
        room = rooms.setdefault(group, [0.0])
        heapq.heapify(room)
        end = room[0] + takes
        heapq.heapreplace(room, end)
        last = max(last, end)
    return last


@lru_cache(maxsize=1)
def _draws() -> Sequence[Sequence[float]]:
    """For each draw and each shard, its share in the distribution of what such take."""
    rng = random.Random(8)
    draws = []
    for number in range(_DRAWS):
        # What is common to all is drawn evenly as well, so that few draws are enough.
        common = _NORMAL.inv_cdf((number + 1) / (_DRAWS + 1))
        alike = _ALIKE[number % len(_ALIKE)]
        draws.append(
            [
                _NORMAL.cdf(math.sqrt(alike) * common + math.sqrt(1 - alike) * rng.gauss(0, 1))
                for _ in range(_MOST_SHARDS)
            ]
        )
    return draws


def _student(share: float, freedom: int) -> float:
    """A quantile of Student's distribution, by its expansion about the normal one [Abramowitz and
    Stegun, 26.7.5]."""
    z = _NORMAL.inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    scaled = (term / freedom**power for power, term in enumerate(terms, start=1))
    return float(z + sum(scaled))

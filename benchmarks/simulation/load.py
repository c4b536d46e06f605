"""Who sends what, and when: sizes with a heavy tail, and a peak in the afternoon."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

HOUR = 3600.0
DAY = 24 * HOUR
LINE_BYTES = 1_200
"""Of its prompt."""

_FEWEST = 40.0
_TAIL = 1.1
"""Exponent of the Pareto distribution: a tenth of the accounts send four fifths of the lines."""
_MOST = 1_500_000
_LARGEST_FILE = 400_000
_PEAK_AT = 14 * HOUR
_PEAK = 0.8
"""By so much the busiest hour is above the mean, and the quietest below it."""
_MODELS = (
    (0.45, ("openai/gpt-4.1-mini",)),
    (0.65, ("openai/gpt-4.1",)),
    (0.90, ("anthropic/claude-4.6-sonnet",)),
    (1.00, ("openai/gpt-4.1-mini", "anthropic/claude-4.6-sonnet")),
)


@dataclass(frozen=True, slots=True)
class Submission:
    """A file that an account sends."""

    moment: float
    """Seconds from midnight."""
    account: str
    lines: int
    models: Sequence[str]
    """By turns, line for line."""


def arrivals(accounts: int, chance: random.Random) -> list[Submission]:
    """What a day brings, in order of time."""
    found = []
    for number in range(accounts):
        account = f"acct_{number:05d}"
        left = min(int(_FEWEST * chance.paretovariate(_TAIL)), _MOST)
        while left > 0:
            # One file mostly; large accounts send several.
            share = left if chance.random() < 0.7 else max(1, int(left * chance.random()))
            lines = min(share, _LARGEST_FILE)
            pick = chance.random()
            models = next(models for up_to, models in _MODELS if pick < up_to)
            found.append(Submission(_moment(chance), account, lines, models))
            left -= lines
    return sorted(found, key=lambda each: (each.moment, each.account, each.lines))


def _moment(chance: random.Random) -> float:
    """Of the day, by how busy it is."""
    while True:
        moment = chance.random() * DAY
        busy = 1 + _PEAK * math.cos((moment - _PEAK_AT) / DAY * 2 * math.pi)
        if chance.random() * (1 + _PEAK) < busy:
            return moment

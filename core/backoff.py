"""Pauses that double with each failure, up to a limit."""

from __future__ import annotations

import random

SPREAD = 0.25
"""Of a pause, to either side: what failed together should not come back together."""


def backoff(first: float, failures: int, longest: float, *, spread: bool = False) -> float:
    """Seconds to wait after so many failures in a row: `first` after one, then twice as long
    each time, `longest` at the most. `spread`: by chance up to a quarter less or more.
    """
    pause = min(longest, first * 2.0 ** min(max(failures, 1) - 1, 30))
    return pause * random.uniform(1 - SPREAD, 1 + SPREAD) if spread else pause

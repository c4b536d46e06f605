"""When to look at a provider's batch again. No clock and no chance: what spreads the looks of
batches that were submitted together is their shards' ids.

The calls for one batch are never closer than POLYBATCH_POLL_MIN_INTERVAL, and become rarer the
longer it takes. Where many run at one provider, one call in three such intervals is spent on
all of them: as pages of its list, and as much again for those that the list does not show.
"""

from __future__ import annotations

import math
import zlib

from core.ledger import Expected
from core.settings import Settings

# A look comes after a tenth of the time that the batch has taken: some sixty looks in the first
# ten minutes of a long one, and an end is noticed at most so much later.
_AGE_SHARE = 0.1
# Less than 1, so that batches that have become faster are noticed: what is learned counts to
# the look that saw the end.
_FIRST_SHARE = 0.5
_FEWEST_ENDED = 3
# A small batch may be ready long before what was learned from large ones, and a provider may
# refuse a batch while it checks it.
_LATEST_FIRST_LOOK = 2.0
"""Times POLYBATCH_POLL_MAX_INTERVAL."""
_SPREAD = 0.25
_GAP_INTERVALS = 3.0
LONGEST = 3600.0
"""Seconds between two looks at the most, whatever is looked at."""


def spread(shard_id: str) -> float:
    """From 0 to less than 1, always the same for a shard and unlike that of most others."""
    return zlib.crc32(shard_id.encode()) / 2**32


def first_look(shard_id: str, expected: Expected | None, settings: Settings) -> float:
    """Seconds from a shard's submission to the first look at its batch.

    `expected`: what is known of the provider's batches of the model.
    """
    least = settings.poll_min_interval
    seconds = least
    if expected is not None and expected.ended >= _FEWEST_ENDED:
        latest = _LATEST_FIRST_LOOK * settings.poll_max_interval
        seconds = max(least, min(_FIRST_SHARE * expected.mean_seconds, latest))
    return seconds * (1 + _SPREAD * spread(shard_id))


def next_look(shard_id: str, age_seconds: float, settings: Settings) -> float:
    """Seconds until the next look at a batch that was submitted so long ago."""
    least, most = settings.poll_min_interval, settings.poll_max_interval
    grown = min(_AGE_SHARE * age_seconds, most / (1 + _SPREAD))
    return max(grown, least) * (1 + _SPREAD * spread(shard_id))


def late_interval(age_seconds: float, settings: Settings) -> float:
    """Seconds between two looks at what is no longer waited for, or cannot be found: longer
    and longer, up to an hour. `age_seconds`: for how long it has been so."""
    return max(settings.poll_min_interval, min(_AGE_SHARE * age_seconds, LONGEST))


def call_gap(settings: Settings) -> float:
    """Seconds that go with each call to a provider at which many batches run."""
    return _GAP_INTERVALS * settings.poll_min_interval


def list_gap(pages: int, settings: Settings) -> float:
    """Seconds between two readings of a list of so many pages."""
    return max(pages, 1) * call_gap(settings)


def single_gap(batches: int, settings: Settings) -> float:
    """Seconds between two looks at one of so many batches that are looked at singly."""
    return max(min(batches * call_gap(settings), LONGEST), settings.poll_min_interval)


def pages_of(batches: int) -> int:
    """How many pages of 100 so many batches fill if nothing is between them."""
    return math.ceil(batches / 100)

"""How an enqueued-token limit is found out: halved by refusals, raised by probes.

What holds of a model is the largest total that is believed to be taken. A refusal of what
should have fitted halves it, or sets it to what the provider names. While shards wait, one
at a time goes as a probe above it; where the provider takes it, its total is the new limit.
So neither a raised limit nor other people's tokens of an hour ago hold anybody up for long.
Pure functions over the row of a model: decision 24 has the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.ledger.tables import TokenQuota

FLOOR = 20_000
"""Tokens. Below any limit that providers give: a limit below it is learned only where a
total below it was refused."""
SMALLEST_SHARD = FLOOR // 2
"""Tokens. Shards are not cut into less, unless the limit is less."""
BELIEVED = 100
"""Tokens. No provider has a limit below it: one that says so is out of order."""
FIRST_PAUSE = timedelta(seconds=60)
"""From a refusal to the next probe; doubled by each probe that is refused."""
LONGEST_PAUSE = timedelta(seconds=300)
# A probe goes up to twice the limit; the longer nothing was refused, the further.
_REACH_DOUBLES = timedelta(minutes=5)
_MOST_DOUBLINGS = 40
# What nobody has refused for so long is forgotten as soon as more was taken.
_FORGOTTEN_AFTER = timedelta(hours=1)
# Refused so often in a row (some eight minutes), though small: not only for others' tokens.
_PATIENCE_AT_FLOOR = 6
# What was counted may be so many times what was estimated.
_ESTIMATE_ERROR = 4
# So that one shard can run while the next is being checked.
_SHARD_SHARE = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """A shard that was refused for the limit."""

    shard_id: str
    tokens: int
    """Its own, estimated."""
    others: int
    """What else was enqueued."""
    accepted: int
    """Of that, what the provider has surely taken."""
    stated: int | None
    """The limit that the provider names."""
    before: int
    """How often in a row it was refused before."""

    @property
    def total(self) -> int:
        """What was enqueued, the refused shard included."""
        return self.tokens + self.others


def believed(stated: int | None) -> int | None:
    """A limit that a provider names, if it can be one."""
    return stated if stated is not None and stated >= BELIEVED else None


def limit_of(row: TokenQuota, ceiling: int | None) -> int | None:
    """The limit that holds. `ceiling`: the operator's word; None: no limit is known."""
    if row.limit_tokens is None or ceiling is None:
        return ceiling if row.limit_tokens is None else row.limit_tokens
    return min(row.limit_tokens, ceiling)


def reach_of(row: TokenQuota, ceiling: int | None, moment: datetime) -> int | None:
    """Up to which total a shard may go now: more than the limit where a probe is due."""
    limit = row.limit_tokens
    if limit is None or row.probe_shard or (row.probe_at is not None and moment < row.probe_at):
        return limit_of(row, ceiling)
    age = moment - (row.learned_at or moment)
    doublings = 1 + max(0, min(age // _REACH_DOUBLES, _MOST_DOUBLINGS))
    reach: int = max(limit * 2**doublings, FLOOR)
    return reach if ceiling is None else min(reach, ceiling)


def piece_of(limit: int) -> int:
    """The tokens of the shards that a larger one is cut into."""
    return min(limit, max(limit // _SHARD_SHARE, SMALLEST_SHARD))


def probe(row: TokenQuota, shard_id: str, total: int) -> None:
    """A shard goes above the limit, to see whether that is still so."""
    row.probe_shard, row.probe_tokens = shard_id, total


def passed(row: TokenQuota, moment: datetime) -> None:
    """The provider has taken the probe: the limit is no less than its total."""
    limit = row.limit_tokens
    if limit is not None:
        age = moment - (row.learned_at or moment)
        row.limit_tokens = None if age >= _FORGOTTEN_AFTER else max(limit, row.probe_tokens)
    _end_probe(row, moment, timedelta())


def void(row: TokenQuota, moment: datetime) -> None:
    """The probe has come to nothing, for another reason than the limit."""
    _end_probe(row, moment, FIRST_PAUSE)


def refused(row: TokenQuota, refusal: Refusal, moment: datetime) -> None:
    """Take in a refusal."""
    was_probe = row.probe_shard == refusal.shard_id
    stated = believed(refusal.stated)
    known = row.limit_tokens
    # Of a probe, or of what had left before the limit was learned: it may be right.
    beyond = known is not None and refusal.total > known
    if stated is not None and refusal.total > stated:
        # Never below the floor at once: it may be somebody's mistake.
        least = FLOOR if refusal.total > FLOOR else max(refusal.total // 2, 1)
        row.limit_tokens = max(stated, min(least, known) if known and beyond else least)
    elif not beyond:
        halved = _halved(known, refusal)
        row.limit_tokens = halved if known is None else min(known, halved)
    row.stated_tokens = refusal.stated
    row.refused_alone = "" if refusal.others else refusal.shard_id
    row.learned_at = moment
    if was_probe:
        pause = min(2 * timedelta(seconds=row.probe_pause), LONGEST_PAUSE)
        _end_probe(row, moment, max(pause, FIRST_PAUSE))
    elif not row.probe_shard:
        _end_probe(row, moment, FIRST_PAUSE)


def _halved(known: int | None, refusal: Refusal) -> int:
    """The limit after the refusal of what should have fitted."""
    if refusal.total > FLOOR:
        return max(refusal.total // 2, refusal.accepted, FLOOR)
    stated = believed(refusal.stated)
    misjudged = stated is not None and refusal.total * _ESTIMATE_ERROR > stated
    if not misjudged and refusal.before < _PATIENCE_AT_FLOOR:
        # Others in the organisation have the room: small shards would make that no better.
        return max(stated or (known or 0) // 2, FLOOR)
    return max(refusal.total // 2, refusal.accepted, 1)


def _end_probe(row: TokenQuota, moment: datetime, pause: timedelta) -> None:
    row.probe_shard, row.probe_tokens = "", 0
    row.probe_pause, row.probe_at = pause.total_seconds(), moment + pause

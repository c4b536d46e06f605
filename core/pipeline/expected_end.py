"""When a batch should end, by what its shards do and what others took (core.completion)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import cycle, islice

from polybatch.v1 import batches_pb2

from core.completion import Pending, estimate
from core.ledger import Batch, BatchState, Ledger, Shard, ShardState, now

_ASSEMBLING = timedelta(seconds=2)
"""Behind the end of the last shard: its results are fetched, and the file is written."""
_MOST_SHARDS = 64
_UNDER_WAY = (ShardState.SUBMITTED, ShardState.RUNNING)


async def expected_end(
    ledger: Ledger, batch: Batch, shards: Sequence[Shard]
) -> batches_pb2.CompletionEstimate | None:
    """The range of a batch that runs; None: too little is known, or it waits for somebody.

    `shards`: some of it, those that have not settled first.
    """
    if batch.state != BatchState.IN_PROGRESS or batch.paused_at is not None or batch.stop:
        return None
    moment = now()
    pending: list[Pending] = []
    for shard in shards:
        if shard.state in (ShardState.SETTLED, ShardState.FETCHING) or shard.given_up:
            continue
        if shard.paused:
            # For as long as an operator likes.
            return None
        found = await _pending(ledger, shard, moment)
        if found is None:
            return None
        pending.append(found)
    if not pending:
        return None
    if shards and len(pending) == len(shards) < batch.shard_count:
        # More than are shown have not settled: they are like those that are.
        lines = sum(shard.line_count for shard in shards)
        left = batch.queued + batch.submitted + batch.processed + batch.retrying
        count = min(_MOST_SHARDS, max(len(pending), round(len(pending) * left / max(lines, 1))))
        pending = list(islice(cycle(pending), count))
    ends = estimate(pending)
    if ends is None:
        return None

    def at(seconds: float) -> datetime:
        end = moment + timedelta(seconds=min(seconds, 10 * batch.window_seconds)) + _ASSEMBLING
        # What has not come home by then has expired.
        return min(end, batch.expires_at)

    return batches_pb2.CompletionEstimate(
        likely_from=at(ends.likely_from),
        likely_until=at(ends.likely_until),
        range_from=at(ends.range_from),
        range_until=at(ends.range_until),
    )


async def _pending(ledger: Ledger, shard: Shard, moment: datetime) -> Pending | None:
    model = shard.remote_model or shard.model.removeprefix(f"{shard.provider}/")
    known = await ledger.durations.newest(shard.provider, model)
    elapsed = 0.0
    if shard.submitted_at is not None and shard.state in _UNDER_WAY:
        elapsed = max(0.0, (moment - shard.submitted_at).total_seconds())
    group = f"{shard.provider}/{model}"
    if shard.state == ShardState.RUNNING:
        of_line = known.of_line(shard.account_id)
        if of_line is None:
            return None
        if shard.finished:
            # By how far it is, and not by how long it has run.
            return Pending(of_line, group=group, left=shard.line_count - shard.finished)
        lines = max(shard.line_count, 1)
        return Pending(of_line, elapsed / lines, group=group, left=lines)
    durations = known.of_size(shard.account_id, shard.line_count)
    if durations is None:
        return None
    if shard.state != ShardState.QUEUED:
        return Pending(durations, elapsed, group=group)
    return Pending(durations, waits_for=group if shard.waiting_reason else "")

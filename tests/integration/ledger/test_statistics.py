"""What is under way, counted in the database."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.ledger import (
    TWINS_WAIT,
    Batch,
    BatchState,
    Ledger,
    LivingBatches,
    Settlement,
    Shard,
    ShardPurpose,
    ShardState,
    UnsettledShards,
    new_id,
    now,
)
from tests.support.ledger.rows import batch_row, create, file_row, intend, reread, shard_row

HOUR = timedelta(hours=1)


async def make_batch(ledger: Ledger, made: datetime, shards: list[tuple[str, int]]) -> list[Shard]:
    """A planned batch with a window of an hour; shards as (provider, lines)."""
    total = sum(lines for _, lines in shards)
    file = await ledger.files.finish_upload(
        file_row(account_id="acct_a", upload_id=new_id("upload"), line_count=total, at=made)
    )
    batch = await create(
        ledger,
        batch_row(
            file,
            total=total,
            queued=total,
            window_seconds=HOUR.total_seconds(),
            created_at=made,
            expires_at=made + HOUR,
            due_at=made,
        ),
    )
    await ledger.batches.plan(
        batch.id,
        [
            shard_row(
                batch, ordinal=ordinal, provider=provider, model="m", line_count=lines, at=made
            )
            for ordinal, (provider, lines) in enumerate(shards)
        ],
    )
    return await ledger.shards.of_batch(batch.id)


async def submit(ledger: Ledger, shard: Shard, finished: int) -> None:
    intended = await intend(ledger, shard)
    assert isinstance(await ledger.shards.submitted(intended, "remote", "", now()), Batch)
    sent = await reread(ledger, shard)
    await ledger.shards.polled(sent, "in_progress", finished, now())


async def test_an_empty_ledger_has_nothing_under_way(ledger: Ledger) -> None:
    count = await ledger.statistics.take(grace=HOUR)
    assert (count.batches, count.shards) == ([], [])


async def test_batches_and_shards_are_counted_by_state_and_provider(ledger: Ledger) -> None:
    old = now() - 5 * HOUR
    first, _ = await make_batch(ledger, old, [("openai", 6), ("anthropic", 4)])
    await make_batch(ledger, now(), [("openai", 3)])
    await submit(ledger, first, finished=2)

    count = await ledger.statistics.take(grace=HOUR)

    (living,) = count.batches
    assert 5 * 3600 <= living.oldest < 5 * 3600 + 600
    assert living == LivingBatches(
        BatchState.IN_PROGRESS,
        batches=2,
        oldest=living.oldest,
        overdue=1,
        queued=7,
        submitted=4,
        processed=2,
        retrying=0,
        succeeded=0,
        failed=0,
    )
    by_place = {(each.provider, each.state): each for each in count.shards}
    sent = by_place.pop(("openai", ShardState.SUBMITTED))
    assert sent == UnsettledShards("openai", ShardState.SUBMITTED, 1, 4, sent.oldest, 0)
    assert sent.oldest < 600, "since it was submitted, not since it was made"
    waiting = by_place.pop(("anthropic", ShardState.QUEUED))
    assert (waiting.shards, waiting.lines) == (1, 4)
    assert waiting.oldest >= 5 * 3600
    queued = by_place.pop(("openai", ShardState.QUEUED))
    assert (queued.shards, queued.lines, queued.waiting_for_room) == (1, 3, 0)
    assert not by_place


async def test_what_waits_for_room_is_counted_and_what_has_ended_is_not(ledger: Ledger) -> None:
    (shard,) = await make_batch(ledger, now(), [("openai", 3)])
    await ledger.shards.wait_for_quota(shard, "the limit", now())
    (queued,) = (await ledger.statistics.take(grace=HOUR)).shards
    assert queued.waiting_for_room == 1

    await ledger.batches.cancel(shard.batch_id)
    await ledger.batches.settle_queued(shard.batch_id)
    await ledger.batches.end(shard.batch_id, BatchState.CANCELLED, "results", succeeded=0, failed=3)
    count = await ledger.statistics.take(grace=HOUR)
    assert (count.batches, count.shards) == ([], [])


async def test_lines_that_wait_for_the_answers_of_others_are_not_stuck(ledger: Ledger) -> None:
    """They are being fetched from the moment on at which these have come."""
    made = now() - 5 * HOUR
    row = file_row(account_id="acct_a", upload_id=new_id("upload"), line_count=3, at=made)
    file = await ledger.files.finish_upload(row)
    batch = await create(ledger, batch_row(file, total=3, queued=3, reuse_seconds=0.0, at=made))
    run = shard_row(batch, line_count=2, at=made)
    twins = shard_row(batch, ordinal=1, line_count=1, at=made, purpose=ShardPurpose.TWINS)
    twins.state, twins.due_at = ShardState.FETCHING, now() + TWINS_WAIT
    await ledger.batches.plan(batch.id, [run, twins])
    (counted,) = (await ledger.statistics.take(grace=HOUR)).shards
    assert (counted.state, counted.lines) == (ShardState.QUEUED, 2)
    intended = await intend(ledger, (await ledger.shards.of_batch(batch.id))[0])
    assert isinstance(await ledger.shards.settle(intended, Settlement(2, 0)), Batch)
    (counted,) = (await ledger.statistics.take(grace=HOUR)).shards
    assert (counted.state, counted.lines) == (ShardState.FETCHING, 1)
    assert counted.oldest < 600

"""Shards that their batch no longer waits for: not sent again, and not merged too soon."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.ledger import Batch, Ledger, ModelSpend, Settlement, Shard, ShardState, Stale, now
from tests.support.ledger.rows import (
    create,
    intend,
    make_batch,
    make_file,
    new_batch,
    new_shard,
    reread,
)

LEASE = timedelta(minutes=1)


@pytest.fixture
async def given_up(ledger: Ledger) -> tuple[Shard, Shard]:
    """A submitted shard as it was read before, and as it is since its batch gave it up."""
    batch = await create(ledger, new_batch(await make_file(ledger)))
    await ledger.batches.plan(batch.id, [new_shard(batch, 0, lines=10)])
    [shard] = await ledger.shards.of_batch(batch.id)
    intended = await intend(ledger, shard)
    early = await ledger.late.give_up(intended, "batch_cancelled", "perhaps", now())
    assert isinstance(early, Stale), "it was never sent"
    assert await ledger.shards.mark_dispatched(intended, LEASE)
    assert isinstance(await ledger.shards.submitted(intended, "remote", "", now()), Batch)
    before = await reread(ledger, shard)
    await ledger.batches.cancel(batch.id)
    until = now() + timedelta(days=29)
    changed = await ledger.late.give_up(before, "batch_cancelled", "perhaps", until)
    assert isinstance(changed, Batch)
    assert (changed.failed, changed.awaited, changed.submitted) == (10, 10, 0)
    assert changed.all_settled
    after = await reread(ledger, shard)
    return before, after


async def test_it_is_given_up_once(ledger: Ledger, given_up: tuple[Shard, Shard]) -> None:
    _, shard = given_up
    again = await ledger.late.give_up(shard, "batch_expired", "perhaps", now())
    assert isinstance(again, Stale)
    assert (shard.state, shard.times_sent) == (ShardState.SUBMITTED, 1)


async def test_nobody_sends_it_again(ledger: Ledger, given_up: tuple[Shard, Shard]) -> None:
    """Also not whoever read it before."""
    before, _ = given_up
    assert isinstance(await ledger.shards.requeue(before, "refused", now()), Stale)
    successor = before.successor("shard_next", lines=10, round_number=1, due_at=now())
    retried = Settlement(0, 0, retried=10, results_prefix="p")
    assert isinstance(await ledger.shards.settle(before, retried, [successor]), Stale)
    assert len(await ledger.shards.of_batch(before.batch_id)) == 1


async def test_what_another_has_adopted_since_is_awaited(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    assert await ledger.shards.mark_dispatched(await intend(ledger, shard), LEASE)
    await ledger.batches.cancel(shard.batch_id)
    unsure = await reread(ledger, shard)
    assert isinstance(await ledger.late.give_up(unsure, "batch_cancelled", "perhaps", now()), Batch)
    first, second = await reread(ledger, shard), await reread(ledger, shard)
    assert isinstance(await ledger.shards.submitted(first, "batch_x", "", now()), Batch)
    assert isinstance(await ledger.late.never_sent(second), Stale)
    assert (await reread(ledger, shard)).state == ShardState.SUBMITTED


async def test_its_answers_count_once_they_are_merged(
    ledger: Ledger, given_up: tuple[Shard, Shard]
) -> None:
    _, shard = given_up
    settlement = Settlement(
        9,
        1,
        results_prefix="p",
        spend=[ModelSpend("openai/m", 10, input_tokens=5)],
        answered=10,
    )
    settled = await ledger.shards.settle(shard, settlement)
    assert isinstance(settled, Batch)
    assert (settled.succeeded, settled.failed, settled.input_tokens) == (0, 10, 0)
    [waiting] = await ledger.late.waiting(shard.batch_id)
    assert (waiting.state, waiting.fill_code) == (ShardState.SETTLED, "batch_cancelled")
    assert [each.id for each in await ledger.late.overdue(now(), 10)] == [shard.id]

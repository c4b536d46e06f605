"""Room under a batch's max cost: taken by one at a time, and given back."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.ledger import (
    Batch,
    Figures,
    Ledger,
    ModelSpend,
    OverMaxCost,
    Room,
    Settlement,
    Shard,
    ShardState,
    Stale,
    new_token,
    now,
)
from tests.support.ledger.rows import make_file, new_batch, new_shard, reread, try_intend

MAX_COST = 10
SHARDS = 8


@pytest.fixture
async def shards(ledger: Ledger) -> list[Shard]:
    """Of one batch that may cost MAX_COST nano-dollars."""
    batch = new_batch(await make_file(ledger))
    batch.max_cost_nanos = MAX_COST
    assert isinstance(await ledger.batches.create(batch), Batch)
    made = [new_shard(batch, ordinal, 1) for ordinal in range(SHARDS)]
    await ledger.batches.plan(batch.id, made)
    return made


async def send(ledger: Ledger, shard: Shard, at_most: int) -> Shard | OverMaxCost:
    return await try_intend(ledger, shard, new_token(), at_most_nanos=at_most)


async def settle(ledger: Ledger, shard: Shard, cost: int) -> None:
    spend = [ModelSpend("m", 1, cost_nanos=cost)]
    assert isinstance(await ledger.shards.settle(shard, Settlement(1, 0, spend=spend)), Batch)


async def test_of_many_at_once_only_so_many_go_as_there_is_room_for(
    ledger: Ledger, shards: list[Shard]
) -> None:
    outcomes = await asyncio.gather(*(send(ledger, shard, 3) for shard in shards))
    sent = [each for each in outcomes if isinstance(each, Shard)]
    assert len(sent) == MAX_COST // 3
    over = next(each for each in outcomes if isinstance(each, OverMaxCost))
    assert over.room.max_cost == MAX_COST
    await settle(ledger, sent[0], 1)
    limits = await ledger.stop_loss.limits(shards[0].batch_id)
    assert limits.room == Room(max_cost=MAX_COST, left=9, free=3, in_flight=2)
    left = [shard for shard in shards if shard.id not in {each.id for each in sent}]
    outcomes = await asyncio.gather(*(send(ledger, shard, 3) for shard in left))
    assert sum(isinstance(each, Shard) for each in outcomes) == 1
    for shard in await ledger.shards.of_batch(shards[0].batch_id):
        if shard.state == ShardState.SUBMITTING:
            await settle(ledger, shard, 3)
    batch = await ledger.batches.get(shards[0].batch_id)
    assert batch.cost_nanos == MAX_COST


async def test_who_waits_is_found_and_who_need_not_does_not_wait(
    ledger: Ledger, shards: list[Shard]
) -> None:
    first, second, third = shards[:3]
    until = now() + timedelta(minutes=1)
    stop_loss, figures = ledger.stop_loss, Figures(2, 5)
    assert isinstance(await stop_loss.wait(second, figures, "why", until), Room), "none in flight"
    sent = await send(ledger, first, 6)
    assert isinstance(sent, Shard)
    assert isinstance(await stop_loss.wait(second, Figures(1, 4), "why", until), Room), "it fits"
    news = await stop_loss.wait(second, figures, "why", until)
    assert isinstance(news, Batch)
    assert await stop_loss.wait(second, figures, "why", until) is None, "no news"
    assert await stop_loss.waiting(first.batch_id, 32) == [second.id]
    kept = await reread(ledger, second)
    assert (kept.expected_nanos, kept.at_most_nanos, kept.waiting_reason) == (2, 5, "why")
    await settle(ledger, sent, 1)
    assert isinstance(await send(ledger, second, 5), Shard)
    assert await stop_loss.waiting(first.batch_id, 32) == []
    await ledger.batches.cancel(first.batch_id)
    assert isinstance(await stop_loss.wait(third, figures, "why", until), Stale)


async def test_where_nothing_limits_spending(ledger: Ledger) -> None:
    batch = new_batch(await make_file(ledger))
    assert isinstance(await ledger.batches.create(batch), Batch)
    assert not (await ledger.stop_loss.limits(batch.id)).limited


async def test_only_so_many_are_woken_at_a_time(ledger: Ledger, shards: list[Shard]) -> None:
    first, *others = shards
    assert isinstance(await send(ledger, first, 6), Shard)
    for shard in others:
        await ledger.stop_loss.wait(shard, Figures(2, 5), "why", now() + timedelta(minutes=1))
    ids = [shard.id for shard in others]
    assert await ledger.stop_loss.waiting(first.batch_id, len(ids)) == ids
    assert await ledger.stop_loss.waiting(first.batch_id, 2) == ids[:2]

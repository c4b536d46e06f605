"""Batches with answers of every length never pass their max cost, nor refuse needlessly."""

from __future__ import annotations

import random

import pytest

from core.ledger import (
    Batch,
    BatchState,
    File,
    Ledger,
    ModelSpend,
    OverMaxCost,
    Settlement,
    Shard,
    ShardState,
    new_token,
    now,
)
from tests.support.ledger.money import check_books, rows
from tests.support.ledger.rows import (
    LEASE,
    add_rows,
    make_file,
    new_batch,
    new_shard,
    reread,
    try_intend,
)

LONGEST = 1_000_000_007
"""Nano-dollars that a line can cost."""


def planned(file: File, rng: random.Random) -> tuple[Batch, list[Shard]]:
    """A batch with a max cost, of shards of one line; what each can cost."""
    batch = new_batch(file)
    batch.state = BatchState.IN_PROGRESS
    shards = [new_shard(batch, ordinal, 1) for ordinal in range(rng.randrange(1, 7))]
    for shard in shards:
        shard.account_id = batch.account_id
        shard.at_most_nanos = rng.choice([1, rng.randrange(1, LONGEST), LONGEST])
    batch.total = batch.queued = batch.shard_count = len(shards)
    at_most = sum(shard.at_most_nanos for shard in shards)
    batch.max_cost_nanos = rng.choice([1, at_most - 1, at_most, rng.randrange(1, at_most + 2)])
    return batch, shards


async def intend(ledger: Ledger, shard: Shard) -> Shard | OverMaxCost:
    return await try_intend(ledger, shard, new_token(), at_most_nanos=shard.at_most_nanos)


async def come_home(ledger: Ledger, sent: Shard, rng: random.Random) -> tuple[int, bool]:
    """What came of a shard that was sent: what it cost, and whether it is queued anew."""
    match rng.choice(["answer", "answer", "requeue", "given up"]):
        case "requeue":
            assert isinstance(await ledger.shards.requeue(sent, "busy", now()), Batch)
            return 0, True
        case "given up":
            assert await ledger.shards.mark_dispatched(sent, LEASE)
            assert isinstance(await ledger.late.give_up(sent, "c", "m", now()), Batch)
    most = sent.at_most_nanos
    cost = rng.choice([0, rng.randrange(most + 1), most])
    spend = [ModelSpend("m", 1, cost_nanos=cost)]
    settlement = Settlement(1, 0, spend=spend, answered=1)
    assert isinstance(await ledger.shards.settle(await reread(ledger, sent), settlement), Batch)
    return cost, False


async def run(ledger: Ledger, batch: Batch, shards: list[Shard], rng: random.Random) -> None:
    """As a dispatcher and a collector do it, in any order."""
    assert batch.max_cost_nanos is not None
    queued, waiting, in_flight, spent = list(shards), [], [], 0
    while queued or waiting or in_flight:
        if queued and rng.random() < 0.6:
            shard = queued.pop(rng.randrange(len(queued)))
            went = await intend(ledger, shard)
            held = sum(each.at_most_nanos for each in in_flight)
            fits = spent + held + shard.at_most_nanos <= batch.max_cost_nanos
            assert isinstance(went, Shard) == fits, "what has room goes, and nothing else"
            if isinstance(went, Shard):
                in_flight.append(went)
            elif went.room.in_flight:
                assert went.room.in_flight == len(in_flight)
                waiting.append(shard)
            else:
                # Never sent: nothing can make room any more.
                assert not in_flight
                assert went.room.left == batch.max_cost_nanos - spent < shard.at_most_nanos
        elif in_flight:
            sent = in_flight.pop(rng.randrange(len(in_flight)))
            cost, again = await come_home(ledger, sent, rng)
            spent += cost
            queued += [*waiting, *([sent] if again else [])]
            waiting = []
    found = await reread(ledger, batch)
    assert found.cost_nanos == spent <= batch.max_cost_nanos


@pytest.mark.parametrize(
    "batches", [10, pytest.param(100, marks=pytest.mark.long)], ids="{} batches".format
)
async def test_no_batch_passes_its_max_cost(ledger: Ledger, batches: int) -> None:
    rng = random.Random(batches)
    file = await make_file(ledger)
    made = [planned(file, rng) for _ in range(batches)]
    await add_rows(ledger, *(batch for batch, _ in made))
    await add_rows(ledger, *(shard for _, shards in made for shard in shards))
    for batch, shards in made:
        await run(ledger, batch, shards, rng)
    # Both kinds of end were seen, and every cost is on its batch.
    states = {shard.state for shard in await rows(ledger, Shard)}
    assert states == {ShardState.SETTLED, ShardState.QUEUED}
    await check_books(ledger)

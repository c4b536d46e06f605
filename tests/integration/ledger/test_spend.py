"""What shards cost is written when they settle: once, and so that all sums agree."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.ledger import Account, Batch, Ledger, ModelSpend, Settlement, Shard, Stale, UsageRow, now
from tests.support.ledger.money import check_books, rows
from tests.support.ledger.rows import intend, make_batch, make_file, new_batch, new_shard, reread

SPEND = (
    ModelSpend(
        "openai/a",
        3,
        input_tokens=300,
        cached_input_tokens=100,
        cache_write_tokens=50,
        output_tokens=30,
        reasoning_tokens=10,
        cost_nanos=1_000_000_007,
    ),
    ModelSpend("openai/b", 2, unpriced_lines=2, input_tokens=20),
)


@pytest.fixture
async def batch(ledger: Ledger) -> Batch:
    """Of an account and a key, with two shards of five lines."""
    key = await ledger.accounts.create_key("team")
    made = new_batch(await make_file(ledger, account=key.account_id))
    made.key_id = key.key_id
    assert isinstance(await ledger.batches.create(made), Batch)
    planned = await ledger.batches.plan(made.id, [new_shard(made, n, 5) for n in range(2)])
    assert isinstance(planned, Batch)
    return planned


async def test_a_settled_shard_is_charged_once(ledger: Ledger, batch: Batch) -> None:
    first, second = await ledger.shards.of_batch(batch.id)
    sent = await intend(ledger, first)
    settled = await ledger.shards.settle(sent, Settlement(4, 1, spend=SPEND))
    assert isinstance(settled, Batch)
    assert (settled.cost_nanos, settled.unpriced_lines) == (1_000_000_007, 2)
    assert (settled.input_tokens, settled.cache_write_tokens) == (320, 50)
    assert isinstance(await ledger.shards.settle(sent, Settlement(4, 1, spend=SPEND)), Stale)
    # Of several at once one is first.
    outcomes = await asyncio.gather(
        *(ledger.shards.settle(second, Settlement(5, 0, spend=SPEND[:1])) for _ in range(3))
    )
    assert sum(isinstance(each, Batch) for each in outcomes) == 1
    await check_books(ledger)
    [account] = await rows(ledger, Account)
    assert account.balance_nanos == -2_000_000_014
    shard = await reread(ledger, first)
    assert (shard.cost_nanos, shard.unpriced_lines, shard.cache_write_tokens) == (
        1_000_000_007,
        2,
        50,
    )
    [row] = [
        row
        for row in await rows(ledger, UsageRow)
        if (row.shard_id, row.model) == (first.id, "openai/a")
    ]
    assert (row.key_id, row.provider, row.lines, row.late) == (batch.key_id, "openai", 3, False)
    assert row.day == (shard.settled_at or now()).date()
    assert (row.input_tokens, row.cached_input_tokens, row.cache_write_tokens) == (300, 100, 50)
    assert (row.output_tokens, row.reasoning_tokens) == (30, 10)


async def test_what_comes_late_is_charged_when_it_comes(ledger: Ledger, batch: Batch) -> None:
    first, second = await ledger.shards.of_batch(batch.id)
    sent = await intend(ledger, first)
    assert await ledger.shards.mark_dispatched(sent, timedelta(minutes=5))
    await ledger.batches.cancel(batch.id)
    assert isinstance(await ledger.late.give_up(sent, "batch_cancelled", "m", now()), Batch)
    await ledger.batches.settle_queued(batch.id)
    late = Settlement(5, 0, results_prefix="p", spend=SPEND[:1], answered=5)
    settled = await ledger.shards.settle(await reread(ledger, first), late)
    assert isinstance(settled, Batch)
    assert settled.cost_nanos == 1_000_000_007
    assert settled.succeeded == 0, "its lines count when they are merged"
    [row] = await rows(ledger, UsageRow)
    assert row.late
    await check_books(ledger)
    assert (await reread(ledger, second)).cost_nanos == 0


async def test_many_shards_of_an_account_settle_at_once(ledger: Ledger) -> None:
    batches = [(await make_batch(ledger))[0] for _ in range(4)]
    shards: list[Shard] = []
    for each in batches:
        shards += await ledger.shards.of_batch(each.id)
    await asyncio.gather(
        *(
            ledger.shards.settle(each, Settlement(each.line_count, 0, spend=SPEND))
            for each in shards
        )
    )
    await check_books(ledger)
    assert sum(each.cost_nanos for each in await rows(ledger, Batch)) == 8 * 1_000_000_007

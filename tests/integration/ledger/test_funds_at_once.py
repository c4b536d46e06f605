"""All processes and operators at once: the books add up, and nobody waits for another for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from core.ledger import (
    Account,
    ApiKey,
    Batch,
    BatchState,
    File,
    Funding,
    Ledger,
    ModelSpend,
    NoFunds,
    Posting,
    PostingKind,
    Settlement,
    Shard,
    ShardState,
    new_token,
    now,
)
from tests.support.ledger.money import check_books, rows
from tests.support.ledger.rows import LEASE, make_file, new_batch, new_shard, reread, try_intend

USD = 10**9
BATCHES = 40


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[list[Ledger]]:
    """Two gateways, two dispatchers and two collectors on one database."""
    ledgers = [await Ledger.open(database_url, pool_size=5) for _ in range(6)]
    yield ledgers
    for ledger in ledgers:
        await ledger.close()


async def check_free(ledger: Ledger) -> None:
    """Raise AssertionError where more is held than there is."""
    [account] = await rows(ledger, Account)
    assert account.free_nanos >= 0


async def run(processes: list[Ledger], key: ApiKey, file: File, rng: random.Random) -> None:
    """One batch from its making to its end."""
    gateway, dispatcher, collector = (rng.choice(processes[n : n + 2]) for n in (0, 2, 4))
    batch = new_batch(file)
    batch.key_id = key.id
    made = await gateway.batches.create(batch, reserve_nanos=rng.randrange(4 * USD))
    if isinstance(made, NoFunds):
        assert made.needed > made.left
        return
    assert isinstance(made, Batch)
    await check_free(gateway)
    shards = [new_shard(batch, n, 5) for n in range(2)]
    for shard in shards:
        shard.account_id = batch.account_id
    assert isinstance(await dispatcher.batches.plan(batch.id, shards), Batch)

    async def work(shard: Shard) -> None:
        expected = rng.randrange(1, 3 * USD)
        if rng.random() < 0.5:
            went = await dispatcher.runs.start(
                shard, remote_model="m", most=999, most_of_batch=9, expected_nanos=expected
            )
        else:
            went = await try_intend(dispatcher, shard, new_token(), expected_nanos=expected)
        await check_free(dispatcher)
        fresh = await reread(dispatcher, shard)
        if isinstance(went, NoFunds):
            await dispatcher.funds.wait(fresh, now(), expected_nanos=expected)
            return
        if fresh.state == ShardState.QUEUED:
            # The batch was cancelled meanwhile, where its other shard was given up.
            return
        # It is held where the batch was cancelled meanwhile, with its other shard.
        if (
            fresh.state == ShardState.SUBMITTING
            and rng.random() < 0.3
            and await dispatcher.shards.mark_dispatched(fresh, LEASE) is True
        ):
            await gateway.batches.cancel(batch.id)
            given_up = await collector.late.give_up(fresh, "batch_cancelled", "m", now())
            assert isinstance(given_up, Batch)
        if fresh.state == ShardState.RUNNING:
            assert isinstance(await dispatcher.runs.end(fresh), Batch)
        cost = rng.randrange(expected // 2, expected + 1)
        spend = [ModelSpend("m", 5, cost_nanos=cost)]
        # Two collectors have it in hand: one charges.
        came = await asyncio.gather(
            *(
                each.shards.settle(fresh, Settlement(5, 0, spend=spend, answered=5))
                for each in processes[4:6]
            )
        )
        assert sum(isinstance(each, Batch) for each in came) == 1
        await check_free(collector)

    await asyncio.gather(*map(work, shards))
    await gateway.batches.cancel(batch.id)
    await dispatcher.batches.settle_queued(batch.id)
    assert isinstance(await collector.batches.start_finalizing(batch.id, "t", LEASE), Batch)
    living = await reread(collector, batch)
    ended = await collector.batches.end(
        batch.id, BatchState.CANCELLED, "p", succeeded=living.succeeded, failed=living.failed
    )
    assert isinstance(ended, Batch)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_books_add_up_with_all_at_work_at_once(processes: list[Ledger], seed: int) -> None:
    rng = random.Random(seed)
    ledger = processes[0]
    made = await ledger.accounts.create_key("team")
    await ledger.accounts.update(made.account_id, funding=Funding.PREPAID)
    await ledger.credits.grant(made.account_id, 30 * USD, request_id="first")
    keys = [made]
    keys.append(await ledger.accounts.create_key("team"))
    owners = await rows(ledger, ApiKey)
    file = await make_file(ledger, account=made.account_id)

    async def operate() -> None:
        for step in range(BATCHES):
            operator = rng.choice(processes)
            await operator.credits.grant(made.account_id, USD // 4, request_id=f"g{step}")
            # Twice at once, by clients that repeat what was cut off.
            await asyncio.gather(
                *(
                    each.credits.grant(made.account_id, USD // 4, request_id=f"twice{step}")
                    for each in processes[:2]
                )
            )
            budget = rng.choice([None, 40 * USD, 10 * USD])
            await operator.accounts.update_key(rng.choice(owners).id, budget_nanos=budget)
            await operator.accounts.update(
                made.account_id, budget_nanos=rng.choice([None, 45 * USD])
            )

    batches = (
        run(processes, rng.choice(owners), file, random.Random(seed * 1000 + n))
        for n in range(BATCHES)
    )
    await asyncio.gather(*batches, operate())

    await check_books(ledger, ended=True)
    [account] = await rows(ledger, Account)
    grants = [p for p in await rows(ledger, Posting) if p.kind == PostingKind.GRANT]
    assert len(grants) == 1 + 2 * BATCHES
    assert account.reserved_nanos == 0

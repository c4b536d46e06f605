"""What batches hold of credits and budgets: never more than there is, and nothing in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from core.failpoints import Failpoint
from core.ledger import (
    Account,
    ApiKey,
    Batch,
    BatchState,
    BudgetPeriod,
    EnoughNow,
    File,
    Funding,
    Ledger,
    ModelSpend,
    NoFunds,
    NoPrice,
    Posting,
    Purse,
    Settlement,
    Shard,
    ShardState,
    Spending,
    Stale,
    new_token,
    now,
)
from core.ledger.tables import PostingKind
from tests.support.ledger.money import check_books, rows
from tests.support.ledger.rows import LEASE, make_file, new_batch, new_shard, reread, try_intend

USD = 10**9
SHARDS = 3


async def payer(
    ledger: Ledger, credits: int = 0, funding: Funding = Funding.PREPAID, **key: Any
) -> ApiKey:
    """A key of an account with these credits."""
    made = await ledger.accounts.create_key("team")
    await ledger.accounts.update(made.account_id, funding=funding)
    if credits:
        await ledger.credits.grant(made.account_id, credits, request_id="first")
    if key:
        await ledger.accounts.update_key(made.key_id, **key)
    [found] = await rows(ledger, ApiKey)
    return found


async def account_of(ledger: Ledger) -> Account:
    [found] = await rows(ledger, Account)
    return found


async def create(
    ledger: Ledger, file: File, key: ApiKey, nanos: int | None, request_id: str | None = None
) -> Any:
    batch = new_batch(file, request_id)
    batch.key_id = key.id
    return await ledger.batches.create(batch, reserve_nanos=nanos)


async def plan(ledger: Ledger, batch: Batch, count: int = 2) -> list[Shard]:
    shards = [new_shard(batch, n, 10 // count) for n in range(count)]
    for shard in shards:
        shard.account_id = batch.account_id
    assert isinstance(await ledger.batches.plan(batch.id, shards), Batch)
    return shards


async def intend(ledger: Ledger, shard: Shard, expected: int) -> Any:
    return await try_intend(ledger, shard, new_token(), expected_nanos=expected)


async def settle(ledger: Ledger, shard: Shard, cost: int) -> Batch | Stale:
    spend = [ModelSpend("m", shard.line_count, cost_nanos=cost)]
    fresh = await reread(ledger, shard)
    return await ledger.shards.settle(fresh, Settlement(fresh.line_count, 0, spend=spend))


async def end(ledger: Ledger, batch: Batch) -> Batch | Stale:
    await ledger.batches.start_finalizing(batch.id, "t", LEASE)
    fresh = await reread(ledger, batch)
    state = BatchState.CANCELLED if fresh.stop else BatchState.COMPLETED
    return await ledger.batches.end(
        batch.id, state, "p", succeeded=fresh.succeeded, failed=fresh.failed
    )


async def test_a_batch_holds_what_it_should_cost_until_its_end(ledger: Ledger) -> None:
    key = await payer(ledger, 10 * USD)
    file = await make_file(ledger, account=key.account_id)
    batch = await create(ledger, file, key, 6 * USD, "r1")
    assert batch.reserved_nanos == 6 * USD
    again = await create(ledger, file, key, 6 * USD, "r1")
    assert again.id == batch.id, "a repeated request reserves once"
    refused = await create(ledger, file, key, 5 * USD)
    assert refused == NoFunds(Purse.CREDITS, key.account_id, 5 * USD, 6 * USD, 4 * USD)
    assert await create(ledger, file, key, None) == NoPrice()
    first, second = await plan(ledger, batch)
    assert isinstance(await intend(ledger, first, 4 * USD), Shard)
    # Of the 6 that it holds 2 are free for the second, and 2 more come out of the credits.
    assert isinstance(await intend(ledger, second, 4 * USD), Shard)
    held = await reread(ledger, batch)
    assert held.reserved_nanos == 8 * USD
    settled = await settle(ledger, first, 5 * USD)
    assert isinstance(settled, Batch)
    assert settled.reserved_nanos == 3 * USD
    await settle(ledger, second, 1 * USD)
    ended = await end(ledger, batch)
    assert isinstance(ended, Batch)
    assert ended.reserved_nanos == 0
    assert isinstance(await end(ledger, batch), Stale)
    account = await account_of(ledger)
    assert (account.balance_nanos, account.reserved_nanos) == (4 * USD, 0)
    await check_books(ledger, ended=True)


async def test_a_shard_waits_until_there_is_enough_for_it(ledger: Ledger) -> None:
    key = await payer(ledger, 10 * USD)
    file = await make_file(ledger, account=key.account_id)
    batch, other = [await create(ledger, file, key, 5 * USD) for _ in range(2)]
    first, second = await plan(ledger, batch)
    assert isinstance(await intend(ledger, first, 5 * USD), Shard)
    lacking = await intend(ledger, second, 3 * USD)
    assert lacking == NoFunds(Purse.CREDITS, key.account_id, 3 * USD, 10 * USD, 0)
    assert "waits for credits: needs 3 USD more, free 0 (reserved 10)" in lacking.reason
    soon = now() + timedelta(minutes=1)
    told = await ledger.funds.wait(second, soon, expected_nanos=3 * USD)
    assert isinstance(told, tuple)
    assert isinstance(told[0], Batch)
    assert told[1] == lacking
    waiting = await reread(ledger, second)
    assert (waiting.waits_for_funds, waiting.expected_nanos) == (True, 3 * USD)
    assert await ledger.funds.wait(waiting, soon, expected_nanos=3 * USD) == (None, lacking)
    assert await ledger.funds.lacking(waiting) == lacking
    count = await ledger.statistics.take(grace=timedelta(hours=1))
    assert (count.waiting_for_funds, count.nearly_out) == (1, 1)
    [next_one] = await ledger.funds.waiting(key.account_id, 10)
    assert next_one.id == second.id
    # What another batch gives back is enough.
    assert isinstance(await ledger.batches.fail(other.id, "c", "m"), Batch)
    assert await ledger.funds.lacking(waiting) is None
    # It was not to be found among those that wait when funds came: it need not wait.
    enough = await ledger.funds.wait(waiting, soon, expected_nanos=3 * USD)
    assert isinstance(enough, EnoughNow)
    assert isinstance(await intend(ledger, second, 3 * USD), Shard)
    assert await ledger.funds.waiting(key.account_id, 10) == []
    count = await ledger.statistics.take(grace=timedelta(hours=1))
    assert (count.waiting_for_funds, count.nearly_out) == (0, 0)
    await check_books(ledger)


async def test_a_run_waits_likewise(ledger: Ledger) -> None:
    key = await payer(ledger, 5 * USD)
    batch = await create(ledger, await make_file(ledger, account=key.account_id), key, 5 * USD)
    first, second = await plan(ledger, batch)

    async def start(shard: Shard) -> Any:
        return await ledger.runs.start(
            shard, remote_model="m", most=9, most_of_batch=9, expected_nanos=4 * USD
        )

    assert isinstance(await start(first), Batch)
    assert (await start(second)).needed == 3 * USD
    await ledger.credits.grant(key.account_id, 3 * USD, request_id="more")
    assert isinstance(await start(second), Batch)
    await check_books(ledger)


@pytest.mark.parametrize("of_key", [True, False])
async def test_budgets_of_a_month_begin_anew(ledger: Ledger, of_key: bool) -> None:
    budget = {"budget_nanos": 10 * USD, "budget_period": BudgetPeriod.MONTH}
    key = await payer(ledger, funding=Funding.METERED, **(budget if of_key else {}))
    if not of_key:
        await ledger.accounts.update(key.account_id, **budget)
    file = await make_file(ledger, account=key.account_id)
    batch = await create(ledger, file, key, 6 * USD)
    first, second = await plan(ledger, batch)
    assert isinstance(await intend(ledger, first, 6 * USD), Shard)
    await settle(ledger, first, 7 * USD)
    purse = Purse.KEY_BUDGET if of_key else Purse.ACCOUNT_BUDGET
    owner = key.id if of_key else key.account_id
    refused = await create(ledger, file, key, 4 * USD)
    assert refused == NoFunds(purse, owner, 4 * USD, 0, 3 * USD, BudgetPeriod.MONTH)
    told = await ledger.funds.wait(second, now(), expected_nanos=4 * USD)
    assert isinstance(told, tuple)
    assert f"waits for room in the {purse}'s budget" in told[1].reason
    assert "the next month (UTC) lets it go" in told[1].reason
    # What was spent was spent in the month before.
    async with ledger._database.write(Failpoint.BATCH_CREATE) as session:
        await session.exec(
            update(Spending).where(col(Spending.month) != "").values(month="2020-01")
        )
    assert await ledger.funds.lacking(await reread(ledger, second)) is None
    assert isinstance(await create(ledger, file, key, 4 * USD), Batch)
    [row] = await rows(ledger, ApiKey)
    assert row.reserved_nanos == (await account_of(ledger)).reserved_nanos == 4 * USD


async def test_the_first_of_each_batch_goes_before_the_second_of_any(ledger: Ledger) -> None:
    key = await payer(ledger, funding=Funding.METERED)
    file = await make_file(ledger, account=key.account_id)
    planned = [await plan(ledger, await create(ledger, file, key, None)) for _ in range(2)]
    await ledger.accounts.update(key.account_id, funding=Funding.PREPAID)
    for shard in [*planned[1], *planned[0]]:
        assert isinstance(await ledger.funds.wait(shard, now(), expected_nanos=1), tuple)
    (a, c), (b, d) = planned
    woken = await ledger.funds.waiting(key.account_id, 3)
    assert [shard.id for shard in woken] == [a.id, b.id, c.id]
    own = await ledger.funds.waiting(key.account_id, 3, batch_id=b.batch_id)
    assert [shard.id for shard in own] == [b.id, d.id]


async def test_nothing_is_held_where_nothing_limits(ledger: Ledger) -> None:
    key = await payer(ledger, funding=Funding.METERED)
    file = await make_file(ledger, account=key.account_id)
    batch = await create(ledger, file, key, None)
    assert batch.reserved_nanos == 0
    first, _ = await plan(ledger, batch)
    assert isinstance(await intend(ledger, first, 9 * USD), Shard)
    await settle(ledger, first, 9 * USD)
    kinds = {posting.kind for posting in await rows(ledger, Posting)}
    assert kinds == {PostingKind.CHARGE}


async def test_late_answers_are_charged_to_the_balance(ledger: Ledger) -> None:
    key = await payer(ledger, 10 * USD)
    file = await make_file(ledger, account=key.account_id)
    batch = await create(ledger, file, key, 8 * USD)
    [shard] = await plan(ledger, batch, 1)
    sent = await intend(ledger, shard, 8 * USD)
    assert await ledger.shards.mark_dispatched(sent, LEASE)
    await ledger.batches.cancel(batch.id)
    assert isinstance(await ledger.late.give_up(sent, "batch_cancelled", "m", now()), Batch)
    ended = await end(ledger, batch)
    assert isinstance(ended, Batch)
    assert ended.reserved_nanos == 0
    late = Settlement(10, 0, spend=[ModelSpend("m", 10, cost_nanos=7 * USD)], answered=10)
    assert isinstance(await ledger.shards.settle(await reread(ledger, shard), late), Batch)
    account = await account_of(ledger)
    assert (account.balance_nanos, account.reserved_nanos) == (3 * USD, 0)
    await check_books(ledger, ended=True)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))]
)
async def test_books_add_up_whatever_happens_in_whatever_order(ledger: Ledger, seed: int) -> None:
    rng = random.Random(seed)
    budget = rng.choice([None, 40 * USD])
    key = await payer(ledger, 30 * USD, budget_nanos=budget)
    file = await make_file(ledger, account=key.account_id)
    living: dict[str, Batch] = {}
    shards: list[Shard] = []
    errors = 0
    for step in range(60):
        match rng.choice(["create", "intend", "intend", "settle", "requeue", "stop", "grant"]):
            case "create":
                made = await create(ledger, file, key, rng.randrange(12) * USD)
                if isinstance(made, Batch):
                    living[made.id] = made
                    shards += await plan(ledger, made, SHARDS)
            case "intend" if shards:
                await intend(ledger, rng.choice(shards), rng.randrange(1, 5 * USD))
            case "settle" if shards:
                shard = await reread(ledger, rng.choice(shards))
                if shard.state == ShardState.SUBMITTING:
                    # Estimates are wrong to both sides.
                    cost = int(shard.expected_nanos * rng.uniform(0.3, 1.3))
                    errors += max(0, cost - shard.expected_nanos)
                    await settle(ledger, shard, cost)
            case "requeue" if shards:
                shard = await reread(ledger, rng.choice(shards))
                if shard.state == ShardState.SUBMITTING:
                    await ledger.shards.requeue(shard, "busy", now())
            case "stop" if living:
                batch = living.pop(rng.choice(sorted(living)))
                await ledger.batches.cancel(batch.id)
                await ledger.batches.settle_queued(batch.id)
                for shard in await ledger.shards.of_batch(batch.id):
                    await settle(ledger, shard, shard.expected_nanos)
                assert isinstance(await end(ledger, batch), Batch)
            case "grant":
                amount = rng.randrange(-1, 3) * USD
                await ledger.credits.grant(key.account_id, amount, request_id=f"g{step}")
        account = await account_of(ledger)
        taken_back = sum(
            -posting.balance_nanos
            for posting in await rows(ledger, Posting)
            if posting.kind == PostingKind.GRANT and posting.balance_nanos < 0
        )
        assert account.free_nanos >= -errors - taken_back
        await check_books(ledger)


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[list[Ledger]]:
    """Two gateways and two collectors on one database."""
    ledgers = [await Ledger.open(database_url, pool_size=5) for _ in range(4)]
    yield ledgers
    for ledger in ledgers:
        await ledger.close()


@pytest.mark.long
async def test_200_batches_at_once_never_spend_more_than_there_is(processes: list[Ledger]) -> None:
    ledger, *_ = processes
    key = await payer(ledger, 100 * USD)
    file = await make_file(ledger, account=key.account_id)

    # SQLite serves those that wait for it in no order: with many, one may wait for ever.
    at_once = asyncio.Semaphore(16)

    async def run(number: int, name: str) -> Batch | NoFunds:
        async with at_once:
            return await run_now(number, name)

    async def run_now(number: int, name: str) -> Batch | NoFunds:
        gateway, collector = processes[number % 2], processes[2 + number % 2]
        made = await create(gateway, file, key, USD, name)
        if isinstance(made, NoFunds):
            return made
        assert isinstance(made, Batch)
        for shard in await plan(gateway, made):
            sent = await intend(gateway, shard, USD // 2)
            assert isinstance(sent, Shard)
            await settle(collector, sent, USD // 2)
        ended = await end(collector, made)
        assert isinstance(ended, Batch)
        return ended

    first = await asyncio.gather(*(run(number, f"r{number}") for number in range(200)))
    refused = [number for number, each in enumerate(first) if isinstance(each, NoFunds)]
    assert len(refused) == 100
    for number in refused:
        said = first[number]
        assert isinstance(said, NoFunds)
        assert said.needed == USD
        assert said.left < USD
    account = await account_of(ledger)
    assert (account.balance_nanos, account.reserved_nanos) == (0, 0)
    await ledger.credits.grant(key.account_id, 100 * USD, request_id="more")
    rest = await asyncio.gather(*(run(number, f"r{number}") for number in refused))
    assert all(isinstance(each, Batch) for each in rest)
    account = await account_of(ledger)
    assert (account.balance_nanos, account.reserved_nanos) == (0, 0)
    await check_books(ledger, ended=True)

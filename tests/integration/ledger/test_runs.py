"""Shards that the dispatcher runs itself: started in turn, held by one at a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.ledger import AtCapacity, Batch, Ledger, Shard, ShardState, Stale, now
from tests.support.ledger.rows import batch_row, create, file_row, reread, shard_row

LEASE = timedelta(seconds=30)
OVER = timedelta(seconds=-1)


async def add(ledger: Ledger, shards: int, account: str = "acct_a") -> list[Shard]:
    """The shards of a planned batch, ten lines each."""
    file = await ledger.files.finish_upload(file_row(account_id=account))
    batch = await create(ledger, batch_row(file, total=10 * shards))
    rows = [
        shard_row(batch, ordinal=number, provider="local", model="local/llama", line_count=10)
        for number in range(shards)
    ]
    await ledger.batches.plan(batch.id, rows)
    return await ledger.shards.of_batch(batch.id)


async def start(ledger: Ledger, shard: Shard, most: int = 8) -> Batch | Stale | AtCapacity:
    return await ledger.runs.start(shard, remote_model="llama", most=most, most_of_batch=2)


async def running(ledger: Ledger) -> Shard:
    (shard,) = await add(ledger, 1)
    assert isinstance(await start(ledger, shard), Batch)
    return await reread(ledger, shard)


async def claimed(ledger: Ledger, lease: timedelta = LEASE) -> Shard:
    held = await ledger.runs.claim(await running(ledger), lease)
    assert isinstance(held, Shard)
    return held


async def wait(ledger: Ledger, shard: Shard) -> None:
    assert await ledger.shards.wait_for_quota(shard, "waits for its turn", now())


async def test_a_run_from_start_to_end(ledger: Ledger) -> None:
    held = await claimed(ledger)
    assert held.state == ShardState.RUNNING
    assert (held.attempts, held.remote_model) == (1, "llama")
    batch = await ledger.runs.progressed(held, 4, "local asks to wait", LEASE)
    assert isinstance(batch, Batch)
    assert (batch.submitted, batch.processed) == (6, 4)
    assert (await reread(ledger, held)).waiting_reason == "local asks to wait"
    ended = await ledger.runs.end(held)
    assert isinstance(ended, Batch)
    assert ended.revision == batch.revision + 1
    found = await reread(ledger, held)
    assert found.state == ShardState.FETCHING
    assert found.ran_here
    assert found.waiting_reason == ""
    assert isinstance(await ledger.runs.end(held), Stale)


async def test_a_started_shard_is_nobodys_yet(ledger: Ledger) -> None:
    shard = await running(ledger)
    assert shard.due_at <= now()
    assert isinstance(await start(ledger, shard), Stale)


async def test_of_many_claims_one_succeeds(ledger: Ledger) -> None:
    shard = await running(ledger)
    outcomes = await asyncio.gather(*(ledger.runs.claim(shard, LEASE) for _ in range(5)))
    assert sum(isinstance(outcome, Shard) for outcome in outcomes) == 1


async def test_a_lease_is_respected_until_it_is_over(ledger: Ledger) -> None:
    held = await claimed(ledger)
    assert isinstance(await ledger.runs.claim(held, LEASE), Stale)
    assert isinstance(await ledger.runs.claim(await reread(ledger, held), LEASE), Stale)


async def test_who_lost_a_shard_can_move_it_no_more(ledger: Ledger) -> None:
    lost = await claimed(ledger, OVER)
    taken = await ledger.runs.claim(await reread(ledger, lost), LEASE)
    assert isinstance(taken, Shard)
    assert taken.token != lost.token
    assert not await ledger.runs.renew_lease(lost, LEASE)
    assert not await ledger.runs.release(lost)
    assert isinstance(await ledger.runs.progressed(lost, 1, "", LEASE), Stale)
    assert isinstance(await ledger.runs.end(lost), Stale)
    assert await ledger.runs.renew_lease(taken, LEASE)


async def test_the_sweep_does_not_take_a_shard_from_its_holder(ledger: Ledger) -> None:
    held = await claimed(ledger, OVER)
    (overdue,) = await ledger.shards.overdue((ShardState.RUNNING,), now(), 10)
    assert await ledger.shards.take_overdue(overdue, now())
    assert await ledger.runs.renew_lease(held, LEASE)


async def test_a_released_shard_is_free_at_once(ledger: Ledger) -> None:
    held = await claimed(ledger)
    assert await ledger.runs.release(held)
    assert isinstance(await ledger.runs.claim(await reread(ledger, held), LEASE), Shard)


async def test_a_stopping_batch_starts_nothing(ledger: Ledger) -> None:
    (shard,) = await add(ledger, 1)
    assert isinstance(await ledger.batches.cancel(shard.batch_id), Batch)
    assert isinstance(await start(ledger, shard), Stale)


async def test_few_shards_of_a_batch_and_of_a_provider_run_at_a_time(ledger: Ledger) -> None:
    large = await add(ledger, 4)
    assert isinstance(await start(ledger, large[0]), Batch)
    assert isinstance(await start(ledger, large[1]), Batch)
    assert await start(ledger, large[2]) == AtCapacity(2, 2)
    small = await add(ledger, 1, "acct_b")
    assert await start(ledger, small[0], most=2) == AtCapacity(2, 0)
    assert isinstance(await start(ledger, small[0]), Batch)


async def test_turns_go_by_account_then_age(ledger: Ledger) -> None:
    assert await ledger.runs.next_waiting("local", 16, 2) is None
    large = await add(ledger, 4, "acct_a")
    for shard in large[:2]:
        assert isinstance(await start(ledger, shard), Batch)
    for shard in large[2:]:
        await wait(ledger, shard)
    assert await ledger.runs.next_waiting("local", 16, 2) is None, "its batch has enough"
    (other_of_a,) = await add(ledger, 1, "acct_a")
    (of_b,) = await add(ledger, 1, "acct_b")
    await wait(ledger, other_of_a)
    await wait(ledger, of_b)
    first = await ledger.runs.next_waiting("local", 16, 2)
    assert first.id == of_b.id, "its account has nothing running"
    assert isinstance(await start(ledger, first), Batch)
    second = await ledger.runs.next_waiting("local", 16, 2)
    assert second.id == other_of_a.id
    held = await ledger.runs.claim(await reread(ledger, large[0]), LEASE)
    assert isinstance(held, Shard)
    assert isinstance(await ledger.runs.end(held), Batch)
    third = await ledger.runs.next_waiting("local", 16, 2)
    assert third.id == large[2].id, "the oldest of accounts with as many"


@pytest.mark.parametrize("state", ["cancelled", "other provider"])
async def test_whose_turn_never_comes(ledger: Ledger, state: str) -> None:
    (shard,) = await add(ledger, 1)
    await wait(ledger, shard)
    if state == "cancelled":
        await ledger.batches.cancel(shard.batch_id)
    provider = "local" if state == "cancelled" else "elsewhere"
    assert await ledger.runs.next_waiting(provider, 16, 2) is None

"""Attempts to submit: let go once, taken back only before, and never by two."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from core.ledger import Batch, Ledger, Shard, ShardState, Stale, now
from tests.ledger.test_transitions import intend, make_batch

LEASE = timedelta(minutes=5)


async def reread(ledger: Ledger, shard: Shard) -> Shard:
    found = await ledger.shards.get(shard.id)
    assert found is not None
    return found


async def test_an_attempt_is_let_go_once(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    assert attempt.sending_at is None
    went = await asyncio.gather(*(ledger.shards.sending(attempt, LEASE) for _ in range(8)))
    assert went.count(True) == 1
    assert (await reread(ledger, shard)).sending_at is not None


async def test_what_was_let_go_is_not_taken_back(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    assert await ledger.shards.sending(attempt, LEASE)
    assert isinstance(await ledger.shards.take_back(attempt), Stale)
    assert (await reread(ledger, shard)).state == ShardState.SUBMITTING


async def test_what_was_taken_back_is_not_let_go(ledger: Ledger) -> None:
    """However late a stalled dispatcher goes on."""
    _, (shard, _) = await make_batch(ledger)
    stalled = await intend(ledger, shard, "stalled")
    assert isinstance(await ledger.shards.take_back(stalled), Batch)
    assert not await ledger.shards.sending(stalled, LEASE)
    assert not await ledger.shards.keep(stalled, LEASE)
    fresh = await intend(ledger, shard, "fresh")
    assert not await ledger.shards.sending(stalled, LEASE)
    assert await ledger.shards.sending(fresh, LEASE)


async def test_each_attempt_is_let_go_anew(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    first = await intend(ledger, shard, "t1")
    assert await ledger.shards.sending(first, LEASE)
    assert isinstance(await ledger.shards.requeue(first, "absent", now()), Batch)
    second = await intend(ledger, shard, "t2")
    assert second.sending_at is None
    assert await ledger.shards.sending(second, LEASE)


async def test_only_who_ended_its_calls_says_that_it_is_quiet(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    await ledger.shards.hold(attempt, "unsure", now())
    assert (await reread(ledger, shard)).quiet_at is None
    await ledger.shards.hold(attempt, "no answer", now(), quiet=True)
    quiet_at = (await reread(ledger, shard)).quiet_at
    assert quiet_at is not None
    await ledger.shards.hold(await reread(ledger, shard), "unsure", now(), quiet=True)
    assert (await reread(ledger, shard)).quiet_at == quiet_at


async def test_one_collector_fetches_a_shard(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    await ledger.shards.submitted(attempt, "b", "", now())
    await ledger.shards.fetching(attempt, "completed")
    found = await reread(ledger, shard)
    claims = await asyncio.gather(*(ledger.shards.claim_fetch(found, LEASE) for _ in range(8)))
    assert claims.count(True) == 1
    held = await reread(ledger, shard)
    assert held.due_at > now()
    assert await ledger.shards.keep(held, timedelta())
    assert await ledger.shards.claim_fetch(await reread(ledger, shard), LEASE)

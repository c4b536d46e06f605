"""Attempts to submit: let go once, taken back only before, and never by two."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from core.ledger import Batch, Ledger, ShardState, Stale, now
from tests.support.ledger.rows import LEASE, intend, make_batch, reread


async def test_an_attempt_is_let_go_once(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    assert attempt.dispatched_at is None
    went = await asyncio.gather(*(ledger.shards.mark_dispatched(attempt, LEASE) for _ in range(8)))
    assert went.count(True) == 1
    assert (await reread(ledger, shard)).dispatched_at is not None


async def test_what_was_let_go_is_not_taken_back(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    assert await ledger.shards.mark_dispatched(attempt, LEASE)
    assert isinstance(await ledger.shards.revert_to_queued(attempt), Stale)
    assert (await reread(ledger, shard)).state == ShardState.SUBMITTING


async def test_what_was_taken_back_is_not_let_go(ledger: Ledger) -> None:
    """However late a stalled dispatcher goes on."""
    _, (shard, _) = await make_batch(ledger)
    stalled = await intend(ledger, shard, "stalled")
    assert isinstance(await ledger.shards.revert_to_queued(stalled), Batch)
    assert not await ledger.shards.mark_dispatched(stalled, LEASE)
    assert not await ledger.shards.renew_lease(stalled, LEASE)
    fresh = await intend(ledger, shard, "fresh")
    assert not await ledger.shards.mark_dispatched(stalled, LEASE)
    assert await ledger.shards.mark_dispatched(fresh, LEASE)


async def test_each_attempt_is_let_go_anew(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    first = await intend(ledger, shard, "t1")
    assert await ledger.shards.mark_dispatched(first, LEASE)
    assert isinstance(await ledger.shards.requeue(first, "absent", now()), Batch)
    second = await intend(ledger, shard, "t2")
    assert second.dispatched_at is None
    assert await ledger.shards.mark_dispatched(second, LEASE)


async def test_what_another_has_adopted_is_not_sent_again(ledger: Ledger) -> None:
    """Two ask what became of one attempt; what the first adopts, the second knows already."""
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    assert await ledger.shards.mark_dispatched(attempt, LEASE)
    first, second = await reread(ledger, shard), await reread(ledger, shard)
    assert isinstance(await ledger.shards.submitted(first, "batch_x", "", now()), Batch)
    assert isinstance(await ledger.shards.requeue(second, "absent", now()), Stale)
    after = await reread(ledger, shard)
    assert (after.state, after.remote_id) == (ShardState.SUBMITTED, "batch_x")
    # Refused after it was accepted, it is, by whoever has read that.
    assert isinstance(await ledger.shards.requeue(after, "refused", now()), Batch)


async def test_only_who_ended_its_calls_says_that_it_is_quiet(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    await ledger.shards.mark_outcome_unknown(attempt, "unsure", now())
    assert (await reread(ledger, shard)).no_inflight_since is None
    await ledger.shards.mark_outcome_unknown(attempt, "no answer", now(), quiet=True)
    no_inflight_since = (await reread(ledger, shard)).no_inflight_since
    assert no_inflight_since is not None
    await ledger.shards.mark_outcome_unknown(
        await reread(ledger, shard), "unsure", now(), quiet=True
    )
    assert (await reread(ledger, shard)).no_inflight_since == no_inflight_since


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
    assert await ledger.shards.renew_lease(held, timedelta())
    assert await ledger.shards.claim_fetch(await reread(ledger, shard), LEASE)


async def test_what_left_when_is_told_by_the_clock_that_all_share(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica whose clock is behind; one that is right tells by it what may be under way."""
    ledger = await Ledger.open(postgres_url)
    _, (shard, _) = await make_batch(ledger)
    behind = timedelta(minutes=20)

    def slow() -> datetime:
        return now() - behind

    for module in ("attempts", "database"):
        monkeypatch.setattr(f"core.ledger.{module}.now", slow)
    began = now() - timedelta(seconds=1)
    assert -behind - timedelta(seconds=1) < await ledger.clock_ahead() < -behind / 2
    attempt = await intend(ledger, shard)
    assert await ledger.shards.mark_dispatched(attempt, LEASE)
    await ledger.shards.mark_outcome_unknown(attempt, "no answer", now(), quiet=True)
    row = await reread(ledger, shard)
    assert row.intended_at is not None
    assert row.dispatched_at is not None
    assert row.no_inflight_since is not None
    end = now() + timedelta(seconds=1)
    assert began < row.intended_at < end
    assert began < row.dispatched_at < end
    assert began < row.no_inflight_since < end
    await ledger.close()

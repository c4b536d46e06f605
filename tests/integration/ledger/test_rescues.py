"""Rescues begin once, and nothing that is switched is sent as a batch."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.ledger import (
    Batch,
    Ledger,
    OverQuota,
    Shard,
    ShardPurpose,
    ShardState,
    Stale,
    may_rescue,
    now,
)
from tests.support.ledger.rows import intend, make_file, new_batch, new_shard, reread

OPENAI = frozenset({"openai"})


async def rescuable(ledger: Ledger) -> tuple[Batch, list[Shard]]:
    """One whose rescue is due."""
    batch = new_batch(await make_file(ledger))
    batch.rescue_seconds = 86_400 + 60
    await ledger.batches.create(batch)
    planned = await ledger.batches.plan(batch.id, [new_shard(batch, 0, 6), new_shard(batch, 1, 4)])
    assert isinstance(planned, Batch)
    assert planned.due_at == batch.rescue_at, "the sweep finds it then"
    return planned, await ledger.shards.of_batch(batch.id)


async def test_it_begins_once(ledger: Ledger) -> None:
    batch, _ = await rescuable(ledger)
    begun = await asyncio.gather(*(ledger.rescues.begin(batch.id, "why") for _ in range(4)))
    (first,) = (each for each in begun if isinstance(each, Batch))
    assert first.rescue_started_at is not None
    assert (first.waiting_reason, first.revision) == ("why", batch.revision + 1)


async def test_what_is_queued_is_turned_and_never_sent(ledger: Ledger) -> None:
    batch, (sent, queued) = await rescuable(ledger)
    _, none = await ledger.rescues.switch(batch.id, OPENAI)
    assert none == [], "it has not begun"
    at_provider = await intend(ledger, sent)
    await ledger.rescues.begin(batch.id, "")
    waiting = await ledger.shards.wait_for_quota(queued, "waits", now() + timedelta(hours=1))
    assert isinstance(waiting, Batch)
    found = await asyncio.gather(*(ledger.rescues.switch(batch.id, OPENAI) for _ in range(3)))
    assert [shard for _, switched in found for shard in switched] == [queued.id]
    switched = await reread(ledger, queued)
    assert (switched.purpose, switched.state) == (ShardPurpose.RESCUE, ShardState.QUEUED)
    assert (switched.waits_for_quota, switched.waiting_reason) == (False, "")
    assert switched.due_at <= now()
    assert (await reread(ledger, at_provider)).purpose == ShardPurpose.NONE
    refused = await ledger.shards.intend(
        queued.id,
        token="t",
        remote_model="gpt-4.1",
        sent_lines=4,
        sent_bytes=1,
        sent_sha256="00",
        rejects_prefix="",
        credential="",
        lease=timedelta(minutes=1),
    )
    assert isinstance(refused, Stale)
    assert not isinstance(refused, OverQuota)
    # It waits for its turn among those that are called, not for what may be enqueued.
    waits = await ledger.shards.wait_for_quota(switched, "its turn", now())
    assert isinstance(waits, Batch)
    first = await ledger.runs.next_waiting("openai", 16, 2, ShardPurpose.RESCUE)
    assert first is not None
    assert first.id == queued.id
    # What was refused comes back to the queue, and is switched at the next look.
    await ledger.shards.revert_to_queued(at_provider)
    _, later = await ledger.rescues.switch(batch.id, OPENAI)
    assert later == [sent.id]
    _, others = await ledger.rescues.switch(batch.id, frozenset({"anthropic"}))
    assert others == []


@pytest.mark.parametrize("end", ["cancel", "window"])
async def test_not_after_its_end(ledger: Ledger, end: str) -> None:
    batch, _ = await rescuable(ledger)
    await ledger.rescues.begin(batch.id, "")
    if end == "cancel":
        await ledger.batches.cancel(batch.id)
    else:
        stopped = await ledger.batches.get(batch.id)
        assert stopped is not None
        stopped.expires_at = now() - timedelta(seconds=1)
        assert not may_rescue(stopped)
        return
    _, switched = await ledger.rescues.switch(batch.id, OPENAI)
    assert switched == []


async def test_a_batch_without_a_rescue_has_none(ledger: Ledger) -> None:
    batch = new_batch(await make_file(ledger))
    await ledger.batches.create(batch)
    planned = await ledger.batches.plan(batch.id, [new_shard(batch, 0, 6)])
    assert isinstance(planned, Batch)
    assert planned.due_at == planned.expires_at
    assert isinstance(await ledger.rescues.begin(batch.id, ""), Stale)

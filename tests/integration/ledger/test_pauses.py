"""Pauses: what is let go, what is not, and what is woken."""

from __future__ import annotations

from core.ledger import Batch, BatchState, Held, Ledger, NotHeld, Shard, ShardState, Stale
from tests.support.ledger.rows import LEASE, intend, make_batch, reread


async def tried(ledger: Ledger, shard: Shard) -> object:
    return await ledger.shards.intend(
        shard.id,
        token="t2",
        remote_model="gpt-4.1",
        sent_lines=1,
        sent_bytes=1,
        sent_sha256="",
        rejects_prefix="",
        credential="",
        lease=LEASE,
    )


async def started(ledger: Ledger, shard: Shard) -> object:
    return await ledger.runs.start(shard, remote_model="m", most=9, most_of_batch=9)


async def test_nothing_of_a_paused_batch_is_let_go(ledger: Ledger) -> None:
    batch, (sent, queued) = await make_batch(ledger)
    under_way = await intend(ledger, sent)
    paused = await ledger.pauses.pause_batch(batch.id, "key_a")
    assert isinstance(paused, Batch)
    assert paused.paused_by == "key_a"
    assert await ledger.pauses.pause_batch(batch.id, "key_b") is None, "who paused it first stays"
    assert isinstance(await tried(ledger, queued), Held)
    assert isinstance(await started(ledger, queued), Held)
    # Not what is uploaded already, either.
    assert isinstance(await ledger.shards.mark_dispatched(under_way, LEASE), Held)
    assert (await reread(ledger, queued)).state == ShardState.QUEUED

    held = await ledger.pauses.hold(queued)
    assert isinstance(held, Batch)
    shown = await reread(ledger, queued)
    assert shown.held
    assert "key_a since" in shown.waiting_reason
    assert await ledger.pauses.hold(shown) is None, "no news"
    kept = await ledger.pauses.kept([batch.id, "batch_other"])
    assert (kept.batches, kept.halted, kept.providers) == ({batch.id}, set(), set())

    resumed = await ledger.pauses.resume_batch(batch.id)
    assert isinstance(resumed, Batch)
    assert (resumed.paused_at, resumed.paused_by) == (None, "")
    assert await ledger.pauses.resume_batch(batch.id) is None
    assert [each.id for each in await ledger.pauses.of_batch(batch.id)] == [queued.id]
    assert not (await reread(ledger, queued)).waiting_reason
    assert isinstance(await ledger.pauses.hold(queued), NotHeld)
    assert await ledger.shards.mark_dispatched(under_way, LEASE) is True
    assert isinstance(await tried(ledger, queued), Shard)


async def test_nothing_of_a_cancelled_batch_is_let_go(ledger: Ledger) -> None:
    # Whoever stops it may come late, as while no messages arrive.
    batch, (sent, _) = await make_batch(ledger)
    under_way = await intend(ledger, sent)
    assert isinstance(await ledger.batches.cancel(batch.id), Batch)
    assert isinstance(await ledger.shards.mark_dispatched(under_way, LEASE), Held)
    assert (await reread(ledger, sent)).dispatched_at is None


async def test_nothing_is_let_go_to_a_paused_provider(ledger: Ledger) -> None:
    batch, (first, second) = await make_batch(ledger)
    under_way = await intend(ledger, first)
    pause = await ledger.pauses.pause_provider("openai", "key_op")
    again = await ledger.pauses.pause_provider("openai", "key_other")
    assert (again.paused_by, again.paused_at) == ("key_op", pause.paused_at)
    assert isinstance(await tried(ledger, second), Held)
    assert isinstance(await started(ledger, second), Held)
    assert isinstance(await ledger.shards.mark_dispatched(under_way, LEASE), Held)
    assert isinstance(await ledger.pauses.hold(second), Batch)
    assert "key_op" in (await reread(ledger, second)).waiting_reason
    assert (await ledger.pauses.kept([batch.id])).providers == {"openai"}

    # What waits for the provider is found page by page.
    found = await ledger.pauses.of_provider("openai", 10)
    assert [each.id for each in found] == [second.id]
    assert not await ledger.pauses.of_provider("openai", 10, found[-1].id)
    await ledger.pauses.resume_provider("openai")
    await ledger.pauses.resume_provider("openai")
    assert not await ledger.pauses.providers()
    assert isinstance(await tried(ledger, await reread(ledger, second)), Shard)


async def test_a_parked_run_is_nobodys_and_keeps_no_place(ledger: Ledger) -> None:
    batch, (first, second) = await make_batch(ledger)
    one = {"remote_model": "m", "most": 1, "most_of_batch": 1}
    assert isinstance(await ledger.runs.start(first, **one), Batch)  # type: ignore[arg-type]
    claimed = await ledger.runs.claim(await reread(ledger, first), LEASE)
    assert isinstance(claimed, Shard)
    await ledger.pauses.pause_batch(batch.id, "key_a")
    assert isinstance(await ledger.pauses.hold(claimed), Batch)
    parked = await reread(ledger, first)
    assert (parked.state, parked.held) == (ShardState.RUNNING, True)
    other, (third, _) = await another_batch(ledger)
    assert isinstance(await ledger.runs.start(third, **one), Batch), other.id  # type: ignore[arg-type]
    await ledger.pauses.resume_batch(batch.id)
    woken = {each.id: each.running for each in await ledger.pauses.of_batch(batch.id)}
    assert woken == {first.id: True, second.id: False}
    assert isinstance(await ledger.runs.claim(parked, LEASE), Shard)


async def another_batch(ledger: Ledger) -> tuple[Batch, list[Shard]]:
    return await make_batch(ledger)


async def test_those_of_a_paused_batch_do_not_keep_others_waiting(ledger: Ledger) -> None:
    batch, (first, _) = await make_batch(ledger)
    other, (third, _) = await another_batch(ledger)
    for shard in (first, third):
        await ledger.shards.wait_for_quota(shard, "waits", shard.due_at)
    await ledger.pauses.pause_batch(batch.id, "key_a")
    due = await ledger.quotas.next_waiting("openai", first.remote_model)
    assert due is not None
    assert due.batch_id == other.id
    turn = await ledger.runs.next_waiting("openai", 16, 2)
    assert turn is not None
    assert turn.batch_id == other.id


async def test_an_ended_batch_cannot_be_paused(ledger: Ledger) -> None:
    batch, _ = await make_batch(ledger)
    await ledger.batches.cancel(batch.id)
    await ledger.batches.settle_queued(batch.id)
    await ledger.batches.start_finalizing(batch.id, "t", LEASE)
    await ledger.batches.end(batch.id, BatchState.CANCELLED, "p", succeeded=0, failed=10)
    assert isinstance(await ledger.pauses.pause_batch(batch.id, "key_a"), Stale)
    assert isinstance(await ledger.pauses.resume_batch(batch.id), Stale)

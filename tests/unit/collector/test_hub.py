"""Watchers see every change in the end, and never one that goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack

import pytest
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Bus
from core.ledger import Batch, BatchState, File, Ledger, LedgerUnavailable, Shard
from core.pipeline import EventPublisher
from services.collector.hub import Hub
from services.collector.watchers import AccountWatcher, Snapshot, Topic
from tests.support.gateway.nats import Nats
from tests.support.ledger.rows import batch_row, create, shard_row

PATIENCE = 10.0


@pytest.fixture
async def bus(own_nats: Nats) -> AsyncIterator[Bus]:
    connected = await Bus.connect(own_nats.url, name="test")
    yield connected
    await connected.close()


async def run_hub(
    ledger: Ledger, bus: Bus, recheck: float, heartbeat: float = 3600
) -> tuple[Hub, asyncio.Event, asyncio.Task[None]]:
    hub = Hub(ledger, bus, recheck=recheck, heartbeat=heartbeat)
    stop = asyncio.Event()
    return hub, stop, asyncio.create_task(hub.run(stop))


async def newer(topic: Topic, revision: int) -> Snapshot | None:
    return await asyncio.wait_for(topic.newer_than(revision), PATIENCE)


def shard_of(batch: Batch) -> Shard:
    return shard_row(batch, id="shard_1", line_count=3)


async def test_all_watchers_of_a_batch_see_its_changes(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    hub, stop, running = await run_hub(ledger, bus, recheck=3600)
    publisher = EventPublisher(bus, ledger)
    seen: list[list[int]] = [[] for _ in range(50)]

    async def watch(revisions: list[int]) -> None:
        async with hub.watch(batch) as topic:
            while len(revisions) < 2:
                last = revisions[-1] if revisions else 0
                snapshot = await newer(topic, last)
                revisions.append(snapshot.revision)

    watchers = [asyncio.create_task(watch(revisions)) for revisions in seen]
    async with hub.watch(batch) as topic:
        assert await newer(topic, 0)
    planned = await ledger.batches.plan(batch.id, [shard_of(batch)])
    assert isinstance(planned, Batch)
    await publisher.changed(planned, BatchEvent.PLANNED)
    await asyncio.gather(*watchers)
    assert {tuple(revisions) for revisions in seen} == {(1, planned.revision)}
    assert hub.watched == 0, "a watcher that left costs nothing"
    stop.set()
    await running


async def test_a_lost_event_is_made_good_by_looking(ledger: Ledger, bus: Bus, batch: Batch) -> None:
    hub, stop, running = await run_hub(ledger, bus, recheck=0.1)
    async with hub.watch(batch) as topic:
        assert await newer(topic, 0)
        planned = await ledger.batches.plan(batch.id, [shard_of(batch)])
        assert isinstance(planned, Batch)
        snapshot = await newer(topic, 1)
        assert snapshot.revision == planned.revision
    stop.set()
    await running


async def test_an_account_watcher_sees_each_batch_s_newest(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    hub, stop, running = await run_hub(ledger, bus, recheck=3600)
    publisher = EventPublisher(bus, ledger)
    async with hub.watch_account("acct_1") as mine, hub.watch_account("acct_2") as other:
        await bus.publish_event(BatchEvent(batch_id="batch_unknown", account_id="acct_1"))
        planned = await ledger.batches.plan(batch.id, [shard_of(batch)])
        assert isinstance(planned, Batch)
        await publisher.changed(planned, BatchEvent.PLANNED)
        [snapshot] = await mine.take(PATIENCE)
        assert (snapshot.id, snapshot.revision) == (batch.id, planned.revision)
        assert await other.take(0) == []
    stop.set()
    await running


async def test_an_account_watcher_too_sees_what_lost_events_told_of(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    hub, stop, running = await run_hub(ledger, bus, recheck=0.1)
    async with hub.watch_account("acct_1") as watcher, hub.watch_account("acct_2") as other:
        [shown] = await watcher.take(PATIENCE)
        assert (shown.id, shown.revision) == (batch.id, batch.revision), "made before any event"
        planned = await ledger.batches.plan(batch.id, [shard_of(batch)])
        assert isinstance(planned, Batch)
        [shown] = await watcher.take(PATIENCE)
        assert (shown.revision, shown.ended) == (planned.revision, False)
        assert await watcher.take(0.5) == [], "what was told is not told again"

        assert isinstance(await ledger.batches.cancel(batch.id), Batch)
        assert isinstance(await ledger.batches.settle_queued(batch.id), Batch)
        ended = await ledger.batches.end(
            batch.id, BatchState.CANCELLED, "", succeeded=0, failed=3, cancelled=3
        )
        assert isinstance(ended, Batch)
        while not shown.ended:
            [shown] = await watcher.take(PATIENCE)
        assert shown.revision == ended.revision
        assert await watcher.take(0.5) == []
        assert await other.take(0) == []
    stop.set()
    await running


async def test_a_batch_that_is_made_and_ends_between_two_rechecks_is_told_once(
    ledger: Ledger, bus: Bus, batch: Batch, file: File
) -> None:
    before = await create(ledger, batch_row(file, total=3, queued=3))
    await ledger.batches.fail(before.id, "bad_file", "It had ended before anybody watched.")
    hub, stop, running = await run_hub(ledger, bus, recheck=0.1)
    async with hub.watch_account("acct_1") as watcher:
        [shown] = await watcher.take(PATIENCE)
        assert shown.id == batch.id
        made = await create(ledger, batch_row(file, total=3, queued=3))
        assert isinstance(await ledger.batches.fail(made.id, "bad_file", "So it is."), Batch)
        [shown] = await watcher.take(PATIENCE)
        while not shown.ended:
            [shown] = await watcher.take(PATIENCE)
        assert shown.id == made.id
        assert await watcher.take(0.5) == []
    stop.set()
    await running


async def test_a_recheck_asks_the_watchers_of_nothing_that_all_were_told(
    ledger: Ledger, bus: Bus, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With thousands of them, and a thousand batches, it would hold up all else."""
    hub = Hub(ledger, bus, recheck=3600, heartbeat=3600)
    async with AsyncExitStack() as watches:
        watchers = [
            await watches.enter_async_context(hub.watch_account("acct_1")) for _ in range(50)
        ]
        for watcher in watchers:
            watcher.showed(Snapshot(batch.id, batch.revision, False, b""))
        [account] = hub._accounts.values()
        await hub.refresh(await hub._missed("acct_1", account))
        asked: list[str] = []
        lacks = AccountWatcher.lacks

        def counted(self: AccountWatcher, batch_id: str, revision: int) -> bool:
            asked.append(batch_id)
            return lacks(self, batch_id, revision)

        monkeypatch.setattr(AccountWatcher, "lacks", counted)
        assert await hub._missed("acct_1", account) == set()
        assert asked == []
        planned = await ledger.batches.plan(batch.id, [shard_of(batch)])
        assert isinstance(planned, Batch)
        await hub.refresh(await hub._missed("acct_1", account))
        for watcher in watchers:
            [shown] = await watcher.take(0)
            assert shown.revision == planned.revision


async def test_a_batch_that_is_deleted_ends_its_watch(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    """Whatever was missed of its end."""
    ended = await ledger.batches.fail(batch.id, "bad_file", "It cannot be planned.")
    assert isinstance(ended, Batch)
    hub, stop, running = await run_hub(ledger, bus, recheck=0.1)
    async with hub.watch(batch) as topic:
        assert await newer(topic, 0)
        await ledger.removal.delete("acct_1", batch.id)
        async with asyncio.timeout(PATIENCE):
            while not topic.gone:
                assert await topic.newer_than(ended.revision) is None
        assert await newer(topic, ended.revision) is None
        assert await newer(topic, 0), "who has not seen the end is shown it"
    stop.set()
    await running


async def test_a_recheck_forgets_nothing_that_changes_meanwhile(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    looks: asyncio.Queue[set[str]] = asyncio.Queue()
    rechecks, on, rested = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Slow(Hub):
        async def refresh(self, batch_ids: Iterable[str]) -> None:
            looks.put_nowait(set(batch_ids))

        async def _missed(self, *_account: object) -> set[str]:
            rechecks.set()
            await on.wait()
            return {"missed"}

    async def rest(_seconds: float) -> None:
        await rested.wait()

    hub, stop = Slow(ledger, bus, recheck=0.1, heartbeat=3600, rest=rest), asyncio.Event()
    running = asyncio.create_task(hub.run(stop))
    async with hub.watch_account("acct_1"), asyncio.timeout(PATIENCE):
        await rechecks.wait()
        hub._touch("first")
        assert await looks.get() == {"first"}
        hub._touch("second")
        on.set()
        rested.set()
        seen: set[str] = set()
        while not {"second", "missed"} <= seen:
            seen |= await looks.get()
    stop.set()
    await running


async def test_an_account_watcher_is_told_nothing_older_than_it_was_shown(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    hub = Hub(ledger, bus, recheck=3600, heartbeat=3600)
    async with hub.watch_account("acct_1") as watcher:
        await hub.refresh([batch.id])
        planned = await ledger.batches.plan(batch.id, [shard_of(batch)])
        assert isinstance(planned, Batch)
        # As where a stream begins: read from the ledger, past the hub.
        watcher.showed(Snapshot(batch.id, planned.revision, False, b""))
        assert await watcher.take(0) == []
        await hub.refresh([batch.id])
        assert await watcher.take(0) == []


async def test_what_could_not_be_read_is_looked_at_again(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    looks: list[set[str]] = []

    class Away(Hub):
        async def refresh(self, batch_ids: Iterable[str]) -> None:
            ids = set(batch_ids)
            if ids:
                looks.append(ids)
            if len(looks) == 1:
                raise LedgerUnavailable("away")
            await super().refresh(ids)

    hub, stop = Away(ledger, bus, recheck=0.1, heartbeat=3600), asyncio.Event()
    running = asyncio.create_task(hub.run(stop))
    ended = await ledger.batches.fail(batch.id, "bad_file", "It cannot be planned.")
    assert isinstance(ended, Batch)
    async with hub.watch_account("acct_1") as watcher:
        await EventPublisher(bus, ledger).changed(ended, BatchEvent.ENDED)
        shown: list[Snapshot] = []
        async with asyncio.timeout(PATIENCE):
            while not shown:
                shown = await watcher.take(PATIENCE)
        assert [each.revision for each in shown] == [ended.revision]
    assert looks[:2] == [{batch.id}, {batch.id}]
    stop.set()
    await running


async def test_a_look_that_breaks_does_not_end_the_watching(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    looked = asyncio.Event()

    class Broken(Hub):
        async def refresh(self, batch_ids: Iterable[str]) -> None:
            if not looked.is_set():
                looked.set()
                raise ValueError("a batch that cannot be shown")
            await super().refresh(batch_ids)

    hub, stop = Broken(ledger, bus, recheck=3600, heartbeat=3600), asyncio.Event()
    running = asyncio.create_task(hub.run(stop))
    async with hub.watch(batch) as topic, asyncio.timeout(PATIENCE):
        await looked.wait()
        planned = await ledger.batches.plan(batch.id, [shard_of(batch)])
        assert isinstance(planned, Batch)
        await EventPublisher(bus, ledger).changed(planned, BatchEvent.PLANNED)
        shown = await newer(topic, 0)
        assert shown is not None
        assert shown.revision == planned.revision
    stop.set()
    await running


async def test_what_changes_during_a_rest_is_looked_at_together(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    looks: list[set[str]] = []
    rested, rests = asyncio.Event(), asyncio.Queue[float]()

    class Counting(Hub):
        async def refresh(self, batch_ids: Iterable[str]) -> None:
            looks.append(set(batch_ids))

    async def rest(seconds: float) -> None:
        rests.put_nowait(seconds)
        await rested.wait()

    hub, stop = Counting(ledger, bus, recheck=3600, heartbeat=3600, rest=rest), asyncio.Event()
    running = asyncio.create_task(hub.run(stop))
    others = [Batch(**batch.model_dump() | {"id": f"batch_{number}"}) for number in range(20)]
    async with AsyncExitStack() as watches:
        await watches.enter_async_context(hub.watch(batch))
        await asyncio.wait_for(rests.get(), PATIENCE)
        for other in others:
            await watches.enter_async_context(hub.watch(other))
            await asyncio.sleep(0)
        assert looks == [{batch.id}], "the first is not waited for, those behind it are gathered"
        rested.set()
        await asyncio.wait_for(rests.get(), PATIENCE)
        assert looks == [{batch.id}, {other.id for other in others}]
    stop.set()
    await running


async def test_a_silent_topic_wakes_its_watchers(ledger: Ledger, bus: Bus, batch: Batch) -> None:
    hub, stop, running = await run_hub(ledger, bus, recheck=3600, heartbeat=0.1)
    async with hub.watch(batch) as topic:
        async with asyncio.timeout(PATIENCE):
            # It is woken too while the first look at the ledger takes its time.
            while await newer(topic, 0) is None:
                continue
        for _ in range(3):
            assert await newer(topic, 1) is None
    stop.set()
    await running


async def test_watchers_are_let_go_at_the_stop(ledger: Ledger, bus: Bus, batch: Batch) -> None:
    hub, stop, running = await run_hub(ledger, bus, recheck=3600)
    async with hub.watch(batch) as topic:
        assert await newer(topic, 0)
        waiting = asyncio.create_task(topic.newer_than(1))
        stop.set()
        await running
        assert await asyncio.wait_for(waiting, PATIENCE) is None
        assert hub.closing

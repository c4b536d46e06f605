"""Watches, and what becomes of them when the stream breaks."""

from __future__ import annotations

import asyncio
import threading

import grpc
import pytest
from polybatch import BatchState, NotFound, Unavailable, WaitTimeout

from tests.integration.client.conftest import Api
from tests.support.client.batches import snapshot
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault

BATCH = "batch_1"


def revisions(fake: FakePolybatch) -> list[int]:
    """The revisions that watches began from."""
    return [request.last_revision for name, request in fake.calls if name == "WatchBatch"]


async def test_watch_ends_with_the_batch(api: Api, fake: FakePolybatch) -> None:
    for revision in range(1, 4):
        fake.publish(snapshot(BATCH, revision))
    fake.publish(snapshot(BATCH, 4, "COMPLETED", succeeded=97, failed=3))
    seen = await api.items("watch", BATCH)
    assert [batch.revision for batch in seen] == [1, 2, 3, 4]
    assert seen[-1].ended
    assert not seen[-1].ok
    assert seen[-1].request_counts.finished == 100
    assert fake.count("WatchBatch") == 1


async def test_watch_goes_on_from_the_revision_seen(api: Api, fake: FakePolybatch) -> None:
    for revision in range(1, 6):
        fake.publish(snapshot(BATCH, revision))
    fake.publish(snapshot(BATCH, 6, "COMPLETED", succeeded=100))
    fake.faults["WatchBatch"] += [
        Fault(),
        Fault(after_messages=2),
        Fault(grpc.StatusCode.INTERNAL, reason="INTERNAL"),
        Fault(grpc.StatusCode.CANCELLED, after_messages=1),
        Fault(after_messages=1, end_with_ok=True),
    ]
    seen = await api.items("watch", BATCH)
    assert [batch.revision for batch in seen] == [1, 2, 3, 4, 6]
    assert revisions(fake) == [0, 0, 2, 2, 3]
    # What an early OK leaves open is asked of the gateway, which knows the newest.
    assert fake.count("GetBatch") == 1


async def test_watch_outlives_a_restart(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    watch = asyncio.create_task(api.items("watch", BATCH))
    assert await asyncio.to_thread(fake.watching.wait, 10)
    fake.stop()
    fake.start()
    fake.publish(snapshot(BATCH, 2, "CANCELLED", failed=100))
    seen = await asyncio.wait_for(watch, 20)
    assert [batch.revision for batch in seen] == [1, 2]
    assert seen[-1].state is BatchState.CANCELLED


async def test_watch_of_an_unknown_batch(api: Api, fake: FakePolybatch) -> None:
    with pytest.raises(NotFound) as caught:
        await api.items("watch", "batch_unknown")
    assert caught.value.reason == "BATCH_NOT_FOUND"
    assert fake.count("WatchBatch") == 1


async def test_watch_from_the_last_revision_ends(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 7, "COMPLETED", succeeded=100))
    assert await api.items("watch", BATCH, last_revision=7) == []
    assert fake.count("WatchBatch") == 1


async def test_leaving_the_loop_cancels_the_call(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    assert len(await api.items("watch", BATCH, first=1)) == 1
    assert await asyncio.to_thread(fake.cancelled.wait, 10)


async def test_old_snapshots_are_left_out(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 5))
    fake.publish(snapshot(BATCH, 6, "COMPLETED", succeeded=100))
    fake.faults["WatchBatch"].append(Fault(after_messages=1))

    def lag(error: object, wait: float) -> None:
        fake.stale = [snapshot(BATCH, 3), snapshot(BATCH, 4)]

    api.observe(lag)
    seen = await api.items("watch", BATCH)
    assert [batch.revision for batch in seen] == [5, 6]


async def test_wait_returns_the_ended_batch(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    waiting = asyncio.create_task(api.call("wait", BATCH))
    assert await asyncio.to_thread(fake.watching.wait, 10)
    fake.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
    batch = await asyncio.wait_for(waiting, 10)
    assert batch.ok


async def test_wait_has_a_limit(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    with pytest.raises(TimeoutError) as caught:
        await api.call("wait", BATCH, timeout=0.3)
    assert isinstance(caught.value, WaitTimeout)
    assert "goes on" in caught.value.next_step


async def test_gives_up_when_nothing_is_there(api: Api, fake: FakePolybatch) -> None:
    fake.stop()
    with pytest.raises(Unavailable) as caught:
        await api.items("watch", BATCH)
    assert fake.address in caught.value.message
    assert "POLYBATCH_COLLECTOR" in caught.value.next_step


async def test_watch_all_misses_no_end(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot("batch_a", 1))
    fake.publish(snapshot("batch_b", 1))
    fake.publish(snapshot("batch_old", 9, "COMPLETED", succeeded=100))
    fake.faults["WatchBatches"].append(Fault(after_messages=2))
    broken = threading.Event()

    def end_meanwhile(error: object, wait: float) -> None:
        if not broken.is_set():
            broken.set()
            fake.batches["batch_a"].append(snapshot("batch_a", 5, "COMPLETED", succeeded=100))
            fake.batches["batch_b"].append(snapshot("batch_b", 2))

    api.observe(end_meanwhile)
    seen = await api.items("watch_all", first=4)
    assert {(batch.id, batch.revision) for batch in seen[:2]} == {("batch_a", 1), ("batch_b", 1)}
    assert {(batch.id, batch.revision) for batch in seen[2:]} == {("batch_a", 5), ("batch_b", 2)}
    assert await asyncio.to_thread(fake.cancelled.wait, 10)


async def test_watch_all_of_a_deleted_batch(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot("batch_a", 1))
    fake.publish(snapshot("batch_b", 1))
    fake.faults["WatchBatches"].append(Fault(after_messages=1))
    forgotten = threading.Event()

    def forget(error: object, wait: float) -> None:
        if not forgotten.is_set():
            forgotten.set()
            del fake.batches["batch_a"]

    api.observe(forget)
    seen = await api.items("watch_all", first=2)
    assert [batch.id for batch in seen] == ["batch_a", "batch_b"]


async def test_listings_turn_the_pages(api: Api, fake: FakePolybatch) -> None:
    for number in range(7):
        state = "COMPLETED" if number % 2 else "IN_PROGRESS"
        fake.publish(snapshot(f"batch_{number}", 1, state))
    listed = await api.items("list_batches", page_size=3)
    assert [batch.id for batch in listed] == [f"batch_{number}" for number in range(6, -1, -1)]
    assert fake.count("ListBatches") == 3
    ended = await api.items("list_batches", states=[BatchState.COMPLETED])
    assert [batch.id for batch in ended] == ["batch_5", "batch_3", "batch_1"]
    await api.items("list_batches", page_size=3, first=2)
    assert fake.count("ListBatches") == 5


async def test_get_and_cancel(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    assert (await api.call("get_batch", BATCH)).state is BatchState.IN_PROGRESS
    fake.faults["CancelBatch"].append(Fault())
    assert (await api.call("cancel_batch", BATCH)).state is BatchState.CANCELLING


async def test_pauses(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    # Repeated by itself: pausing what is paused is no error.
    fake.faults["PauseBatch"].append(Fault())
    paused = await api.call("batches.pause", BATCH)
    assert (paused.paused_by, paused.paused_at is None) == ("key_1", False)
    assert (await api.call("batches.resume", BATCH)).paused_at is None
    assert (await api.call("pause_provider", "openai")).paused_by == "key_1"
    assert (await api.call("resume_provider", "openai")).paused_at is None


async def test_batches_by_their_shorter_names(api: Api, fake: FakePolybatch) -> None:
    batch = await api.call("batches.submit", [{"custom_id": "a"}])
    fake.publish(snapshot(batch.id, 2, succeeded=1))
    fake.publish(snapshot(batch.id, 3, "COMPLETED", succeeded=100))
    seen: list[int] = []
    ended = await api.call(
        "batches.wait", batch.id, progress=lambda snapshot: seen.append(snapshot.revision)
    )
    assert seen == [1, 2, 3]
    assert await api.call("batches.get", batch.id) == ended
    assert [each.id for each in await api.items("batches.list")] == [batch.id]

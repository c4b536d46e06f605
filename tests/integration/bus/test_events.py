"""Events: who gets what."""

from __future__ import annotations

import asyncio

from polybatch.v1.batches_pb2 import BATCH_STATE_IN_PROGRESS
from polybatch.v1.events_pb2 import BatchEvent
from structlog.testing import capture_logs

from core.bus import Bus
from tests.integration.bus.conftest import Nats


def event(account: str, batch: str, revision: int = 1) -> BatchEvent:
    return BatchEvent(
        account_id=account,
        batch_id=batch,
        revision=revision,
        kind=BatchEvent.PLANNED,
        state=BATCH_STATE_IN_PROGRESS,
    )


async def subscribe(bus: Bus, **of: str) -> asyncio.Queue[BatchEvent]:
    queue: asyncio.Queue[BatchEvent] = asyncio.Queue()
    await bus.subscribe_events(queue.put_nowait, **of)
    return queue


async def drain_up_to(queue: asyncio.Queue[BatchEvent], last: str) -> list[str]:
    batch_ids: list[str] = []
    while last not in batch_ids:
        batch_ids.append((await asyncio.wait_for(queue.get(), 30)).batch_id)
    return batch_ids


async def heard(bus: Bus, *queues: asyncio.Queue[BatchEvent]) -> None:
    """Wait until what `bus` publishes reaches all: a cluster's nodes tell each other late."""
    reached = [asyncio.create_task(drain_up_to(queue, "batch_2")) for queue in queues]
    async with asyncio.timeout(30):
        while not all(task.done() for task in reached):
            await bus.publish_event(event("acct_1", "batch_2"))
            await asyncio.wait(reached, timeout=0.05)
    # Those that were published last may still be on their way.
    await bus.publish_event(event("acct_1", "batch_2", revision=2))
    for queue in queues:
        while (await asyncio.wait_for(queue.get(), 30)).revision != 2:
            pass


async def test_every_subscriber_gets_every_event_of_its_subject(nats: Nats, bus: Bus) -> None:
    other = await Bus.connect(nats.url, name="other")
    all_of_it = await subscribe(other)
    again = await subscribe(bus)
    one_account = await subscribe(other, account="acct_1")
    one_batch = await subscribe(other, account="acct_1", batch="batch_2")
    await heard(bus, all_of_it, again, one_account, one_batch)
    for account, batch in (("acct_1", "batch_1"), ("acct_2", "batch_3"), ("acct_1", "batch_2")):
        assert await bus.publish_event(event(account, batch))
    assert await drain_up_to(all_of_it, "batch_2") == ["batch_1", "batch_3", "batch_2"]
    assert await drain_up_to(again, "batch_2") == ["batch_1", "batch_3", "batch_2"]
    assert await drain_up_to(one_account, "batch_2") == ["batch_1", "batch_2"]
    assert await drain_up_to(one_batch, "batch_2") == ["batch_2"]
    await other.close()


async def test_an_event_arrives_as_it_was_sent(bus: Bus) -> None:
    queue = await subscribe(bus)
    sent = event("acct_1", "batch_1", revision=7)
    await bus.publish_event(sent)
    assert await asyncio.wait_for(queue.get(), 30) == sent


async def test_a_malformed_event_or_a_callback_that_raises_ends_nothing(bus: Bus) -> None:
    queue: asyncio.Queue[BatchEvent] = asyncio.Queue()

    def callback(received: BatchEvent) -> None:
        if received.batch_id == "bad":
            raise RuntimeError("boom")
        queue.put_nowait(received)

    await bus.subscribe_events(callback)
    await bus._connection.nc.publish("polybatch.events.acct_1.batch_1", b"\xff\xff\xff")
    with capture_logs() as logs:
        await bus.publish_event(event("acct_1", "bad"))
        await bus.publish_event(event("acct_1", "good"))
        assert (await asyncio.wait_for(queue.get(), 30)).batch_id == "good"
    assert "event_callback_failed" in [entry["event"] for entry in logs]


async def test_a_subscription_survives_a_restart_of_the_server(
    server: Nats, server_bus: Bus
) -> None:
    queue = await subscribe(server_bus)
    await server.kill()
    await asyncio.wait_for(server_bus.wait_down(), 30)
    await server.start()
    await asyncio.wait_for(server_bus.wait_up(), 30)
    assert await server_bus.publish_event(event("acct_1", "batch_1"))
    assert (await asyncio.wait_for(queue.get(), 30)).batch_id == "batch_1"


async def test_unsubscribing_ends_the_events(bus: Bus) -> None:
    queue: asyncio.Queue[BatchEvent] = asyncio.Queue()
    kept = await subscribe(bus)
    subscription = await bus.subscribe_events(queue.put_nowait)
    await subscription.unsubscribe()
    await bus.publish_event(event("acct_1", "batch_1"))
    await drain_up_to(kept, "batch_1")
    assert queue.empty()


async def test_every_process_hears_what_is_broadcast(nats: Nats, bus: Bus) -> None:
    other = await Bus.connect(nats.url, name="other")
    heard_by: list[asyncio.Queue[bytes]] = []
    for listener in (bus, other):
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        await listener.listen("holds", queue.put_nowait)
        await listener.listen("else", lambda _: None)
        heard_by.append(queue)
    assert await other.broadcast("holds", b"x")
    for queue in heard_by:
        assert await asyncio.wait_for(queue.get(), 30) == b"x"
    await other.close()
    assert not await other.broadcast("holds", b"x")

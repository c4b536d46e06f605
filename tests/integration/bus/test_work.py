"""The work queue on a real nats-server."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import PubAck
from polybatch.v1.events_pb2 import WorkItem
from structlog.testing import capture_logs

from core.bus import Ack, Bus, Delivery, Snooze, Step
from core.bus import consumer as bus_consumer
from tests.integration.bus.conftest import Nats, ack_wait_passes, items_left, pulls_open
from tests.support.bus.handlers import NotedItems


async def test_an_item_reaches_the_handler_with_its_ids(bus: Bus) -> None:
    taken = NotedItems()
    await bus.consume(Step.SUBMIT, taken, concurrency=1)
    before = datetime.now(UTC)
    await bus.publish_work(Step.SUBMIT, "batch_1", "shard_1")
    item, delivery = await taken.next()
    assert (item.batch_id, item.shard_id) == ("batch_1", "shard_1")
    assert delivery.count == 1
    assert abs((delivery.first_seen - before).total_seconds()) < 5


async def test_two_replicas_share_the_work(nats: Nats, bus: Bus) -> None:
    other = await Bus.connect(nats.url, name="other")
    seen: Counter[str] = Counter()
    by: Counter[str] = Counter()
    all_in = asyncio.Event()

    def handler(name: str) -> bus_consumer.Handler:
        async def handle(item: WorkItem, delivery: Delivery) -> Ack:
            seen[item.batch_id] += 1
            by[name] += 1
            if len(seen) == 200:
                all_in.set()
            return Ack()

        return handle

    await bus.consume(Step.PLAN, handler("one"), concurrency=2)
    await other.consume(Step.PLAN, handler("two"), concurrency=2)
    await pulls_open(bus, Step.PLAN, 4)
    await asyncio.gather(*(bus.publish_work(Step.PLAN, f"batch_{n}") for n in range(200)))
    await asyncio.wait_for(all_in.wait(), 30)
    await other.close()
    assert set(seen.values()) == {1}
    assert min(by["one"], by["two"]) > 0


async def test_steps_do_not_mix(bus: Bus) -> None:
    plan, stop = NotedItems(), NotedItems()
    await bus.consume(Step.PLAN, plan, concurrency=1)
    await bus.consume(Step.STOP, stop, concurrency=1)
    await bus.publish_work(Step.STOP, "batch_stop")
    await bus.publish_work(Step.PLAN, "batch_plan")
    assert (await plan.next())[0].batch_id == "batch_plan"
    assert (await stop.next())[0].batch_id == "batch_stop"
    assert plan.items.empty()
    assert stop.items.empty()


async def test_again_brings_the_item_back_after_its_delay(bus: Bus) -> None:
    """That it is not back before: test_items_that_wait_do_not_hold_up_others."""
    taken = NotedItems(Snooze(0.5), Snooze(0))
    await bus.consume(Step.POLL, taken, concurrency=1)
    await bus.publish_work(Step.POLL, "batch_1")
    assert [(await taken.next())[1].count for _ in range(3)] == [1, 2, 3]


async def test_items_that_wait_do_not_hold_up_others(bus: Bus) -> None:
    """Also past JetStream's default of 1,000 pending acknowledgements."""
    waiting = 0
    everything_waits = asyncio.Event()
    passed = asyncio.Event()

    async def handle(item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        nonlocal waiting
        if item.batch_id == "urgent":
            passed.set()
            return Ack()
        waiting += 1
        if waiting == 1500:
            everything_waits.set()
        return Snooze(600)

    await bus.consume(Step.POLL, handle, concurrency=4)
    for first in range(0, 1500, 100):
        names = (f"batch_{number}" for number in range(first, first + 100))
        await asyncio.gather(*(bus.publish_work(Step.POLL, name) for name in names))
    await asyncio.wait_for(everything_waits.wait(), 60)
    await bus.publish_work(Step.POLL, "urgent")
    await asyncio.wait_for(passed.wait(), 30)
    assert waiting == 1500, "none is back before its time"


DYING_CONSUMER = """
import asyncio, sys
from core.bus import Bus, Step

async def main():
    bus = await Bus.connect(sys.argv[1], name="dying")

    async def handle(item, delivery):
        print("taken", flush=True)
        await asyncio.Event().wait()

    await bus.consume(Step.SUBMIT, handle, concurrency=1, ack_wait=1.0)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_an_item_of_a_process_that_died_goes_to_another(nats: Nats, bus: Bus) -> None:
    dying = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING_CONSUMER, nats.url, stdout=asyncio.subprocess.PIPE
    )
    assert dying.stdout is not None
    await bus.publish_work(Step.SUBMIT, "batch_1")
    # Structlog's lines of the child come on stdout too, before its own.
    async with asyncio.timeout(20):
        while b"taken" not in await dying.stdout.readline():
            pass
    dying.kill()
    await dying.communicate()
    taken = NotedItems()
    await bus.consume(Step.SUBMIT, taken, concurrency=1, ack_wait=1.0)
    item, delivery = await taken.next()
    assert (item.batch_id, delivery.count) == ("batch_1", 2)


async def test_a_handler_may_take_longer_than_ack_wait(nats: Nats, bus: Bus) -> None:
    other = await Bus.connect(nats.url, name="other")
    entered, go_on, extra = asyncio.Event(), asyncio.Event(), NotedItems()

    async def slow(item: WorkItem, delivery: Delivery) -> Ack:
        assert delivery.count == 1
        entered.set()
        await go_on.wait()
        return Ack()

    await bus.consume(Step.FETCH, slow, concurrency=1, ack_wait=1.5)
    await bus.publish_work(Step.FETCH, "batch_1")
    await asyncio.wait_for(entered.wait(), 30)
    await other.consume(Step.FETCH, extra, concurrency=1, ack_wait=1.5)
    for _ in range(2):
        await ack_wait_passes(bus, 1.5)
    go_on.set()
    await items_left(bus, 0)
    assert extra.items.empty()
    await other.close()


@pytest.mark.parametrize("failure", [RuntimeError("boom"), asyncio.CancelledError()])
async def test_an_item_whose_handler_raises_comes_back(
    bus: Bus, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_consumer, "failure_delay", lambda count: 0.05 * count)
    taken = NotedItems(failure, failure)
    with capture_logs() as logs:
        await bus.consume(Step.PLAN, taken, concurrency=1)
        await bus.publish_work(Step.PLAN, "batch_1", "shard_1")
        counts = [(await taken.next())[1].count for _ in range(3)]
    assert counts == [1, 2, 3]
    failed = [entry for entry in logs if entry["event"] == "work_failed"]
    assert [(entry["batch_id"], entry["shard_id"]) for entry in failed] == [
        ("batch_1", "shard_1")
    ] * 2


def test_failures_come_back_ever_more_slowly_up_to_a_cap() -> None:
    assert bus_consumer.failure_delay(1) < 1
    assert 45 <= bus_consumer.failure_delay(20) <= 75
    assert 45 <= bus_consumer.failure_delay(1_000_000) <= 75


async def test_an_item_whose_confirmation_was_lost_counts_once(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published anew it is another item, also with the same ids."""
    taken = NotedItems()
    await bus.consume(Step.SUBMIT, taken, concurrency=1)
    publish, sent = JetStreamContext.publish, Counter[str]()

    async def lose_the_first(
        context: JetStreamContext, subject: str, payload: bytes, **options: Any
    ) -> PubAck:
        confirmed = await publish(context, subject, payload, **options)
        sent[options["headers"]["Nats-Msg-Id"]] += 1
        if sent.total() == 1:
            raise NatsTimeoutError
        return confirmed

    monkeypatch.setattr(JetStreamContext, "publish", lose_the_first)
    for batch_id in ("batch_1", "batch_1", "last"):
        await bus.publish_work(Step.SUBMIT, batch_id, "shard_1")
    assert sorted(sent.values()) == [1, 1, 2]
    batch_ids = []
    while "last" not in batch_ids:
        batch_ids.append((await taken.next())[0].batch_id)
    assert batch_ids == ["batch_1", "batch_1", "last"]


async def test_stop_waits_for_running_handlers(bus: Bus) -> None:
    entered, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(item: WorkItem, delivery: Delivery) -> Ack:
        entered.set()
        await go_on.wait()
        finished.set()
        return Ack()

    consumer = await bus.consume(Step.PLAN, slow, concurrency=2)
    await bus.publish_work(Step.PLAN, "batch_1")
    await asyncio.wait_for(entered.wait(), 30)
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    go_on.set()
    await asyncio.wait_for(stopping, 30)
    assert finished.is_set()
    await consumer.stop()


async def test_stop_hands_back_what_was_not_finished(nats: Nats, bus: Bus) -> None:
    other = await Bus.connect(nats.url, name="other")
    entered = asyncio.Event()

    async def endless(item: WorkItem, delivery: Delivery) -> Ack:
        entered.set()
        await asyncio.Event().wait()
        return Ack()

    consumer = await bus.consume(Step.PLAN, endless, concurrency=1, stop_grace=0.1)
    await bus.publish_work(Step.PLAN, "batch_1")
    await asyncio.wait_for(entered.wait(), 30)
    taken = NotedItems()
    await other.consume(Step.PLAN, taken, concurrency=1)
    await asyncio.wait_for(consumer.stop(), 30)
    # Long before ack_wait, which is 30 s here.
    item, delivery = await taken.next(limit=15)
    assert (item.batch_id, delivery.count) == ("batch_1", 2)
    await other.close()


async def test_what_arrives_while_a_consumer_stops_is_not_lost(nats: Nats, bus: Bus) -> None:
    """What is on its way to an inbox being closed comes back after ack_wait at the latest."""
    other = await Bus.connect(nats.url, name="other")
    seen: set[str] = set()
    all_in = asyncio.Event()

    async def handle(item: WorkItem, delivery: Delivery) -> Ack:
        seen.add(item.batch_id)
        if len(seen) == 400:
            all_in.set()
        return Ack()

    for round_ in range(4):
        consumer = await bus.consume(Step.PLAN, handle, concurrency=8, ack_wait=5)
        publishing = [
            asyncio.create_task(other.publish_work(Step.PLAN, f"batch_{round_}_{n}"))
            for n in range(100)
        ]
        await asyncio.wait(publishing, return_when=asyncio.FIRST_COMPLETED)
        await consumer.stop()
        await asyncio.gather(*publishing)
    await other.consume(Step.PLAN, handle, concurrency=8, ack_wait=5)
    await asyncio.wait_for(all_in.wait(), 30)
    await other.close()


async def test_an_idle_consumer_stops_at_once_and_takes_nothing_more(nats: Nats, bus: Bus) -> None:
    first, second = NotedItems(), NotedItems()
    consumer = await bus.consume(Step.PLAN, first, concurrency=4)
    await asyncio.wait_for(consumer.stop(), 2)
    await bus.publish_work(Step.PLAN, "batch_1")
    other = await Bus.connect(nats.url, name="other")
    await other.consume(Step.PLAN, second, concurrency=1)
    _, delivery = await second.next(limit=15)
    assert delivery.count == 1
    assert first.items.empty()
    await other.close()

"""Few items for many slots: they are shared out all the same."""

from __future__ import annotations

import asyncio
from collections import Counter

from polybatch.v1.events_pb2 import WorkItem

from core.bus import Ack, Bus, Delivery, Handler, Step
from tests.integration.bus.conftest import Nats, pulls_open

ITEMS = 12


async def test_replicas_with_more_slots_than_items_get_some_each(nats: Nats, bus: Bus) -> None:
    others = [await Bus.connect(nats.url, name=f"other-{number}") for number in range(2)]
    taken: Counter[str] = Counter()
    all_taken, go_on = asyncio.Event(), asyncio.Event()

    def holding(name: str) -> Handler:
        async def handle(item: WorkItem, delivery: Delivery) -> Ack:
            taken[name] += 1
            if taken.total() == ITEMS:
                all_taken.set()
            await go_on.wait()
            return Ack()

        return handle

    replicas = [bus, *others]
    for number, replica in enumerate(replicas):
        await replica.consume(Step.RUN, holding(f"replica-{number}"), concurrency=64)
    await pulls_open(bus, Step.RUN, 2 * len(replicas))
    for number in range(ITEMS):
        await bus.publish_work(Step.RUN, "batch_1", f"shard_{number}")
    await asyncio.wait_for(all_taken.wait(), 20)
    assert len(taken) == len(replicas), taken
    assert min(taken.values()) >= 2, taken
    go_on.set()
    for other in others:
        await other.close()

"""The work queue in memory: items by step, each to one of the consumers, and again when told."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from polybatch.v1.events_pb2 import WorkItem

from core.bus import Delivery, Handler, Snooze, Step
from core.ledger import Batch, now


class MemoryBus:
    """What core.pipeline.EventPublisher and core.bus.Bus do for the steps of shards."""

    def __init__(self, early: Callable[[Step, str], float]) -> None:
        """`early`: seconds for which a shard's message would only be put off again; those are
        slept through at once, as they cost no call."""
        self.messages: Counter[str] = Counter()
        self._early = early
        self._items: dict[Step, asyncio.Queue[tuple[WorkItem, int]]] = defaultdict(asyncio.Queue)

    async def enqueue(self, step: Step, batch_id: str, shard_id: str = "") -> None:
        """As EventPublisher."""
        self.messages[step.value] += 1
        self._items[step].put_nowait((WorkItem(batch_id=batch_id, shard_id=shard_id), 1))

    async def changed(self, _batch: Batch, _kind: Any, _shard: Any = None) -> None:
        """As EventPublisher; nobody watches."""
        self.messages["event"] += 1

    async def consume(self, step: Step, handle: Handler) -> None:
        """Be one of those that work on a step."""
        items = self._items[step]
        while True:
            item, count = await items.get()
            outcome = await handle(item, Delivery(count, now()))
            if isinstance(outcome, Snooze):
                self._later(step, item, count + 1, outcome.delay)

    def _later(self, step: Step, item: WorkItem, count: int, delay: float) -> None:
        asyncio.get_running_loop().call_later(delay, self._again, step, item, count)

    def _again(self, step: Step, item: WorkItem, count: int) -> None:
        left = self._early(step, item.shard_id)
        if left > 0:
            self._later(step, item, count, left)
        else:
            self._items[step].put_nowait((item, count))

"""Handlers that note what they are given."""

from __future__ import annotations

import asyncio

from polybatch.v1.events_pb2 import WorkItem

from core.bus import Ack, Delivery, Snooze


class NotedItems:
    """A handler that notes what it is given, and does what the test says."""

    def __init__(self, *outcomes: Ack | Snooze | BaseException) -> None:
        self.items: asyncio.Queue[tuple[WorkItem, Delivery]] = asyncio.Queue()
        self._outcomes = list(outcomes)

    async def __call__(self, item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        self.items.put_nowait((item, delivery))
        outcome = self._outcomes.pop(0) if self._outcomes else Ack()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def next(self, limit: float = 30) -> tuple[WorkItem, Delivery]:
        return await asyncio.wait_for(self.items.get(), limit)

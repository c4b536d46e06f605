"""Event publishers without a bus."""

from __future__ import annotations

from typing import Any

from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Step
from core.ledger import Batch, Shard
from core.pipeline import EventPublisher
from core.pipeline.messages import batch_message


class EnqueuedSteps(EventPublisher):
    """Notes what is announced, with no bus to announce it on."""

    def __init__(self) -> None:
        self.wakes: list[tuple[Step, str]] = []

    async def changed(self, batch: Batch, kind: object, shard: Shard | None = None) -> None:
        return None

    async def enqueue(self, step: Step, batch_id: str, shard_id: str = "") -> None:
        self.wakes.append((step, shard_id))


class NoEvents(EventPublisher):
    """Takes announcements; nobody listens in these tests."""

    def __init__(self) -> None:
        pass

    async def changed(
        self, batch: Batch, kind: BatchEvent.Kind, shard: Shard | None = None
    ) -> None:
        assert batch_message(batch, []).revision


class Silent:
    """Announces nothing, and remembers the kinds of changes that it was told of."""

    def __init__(self) -> None:
        self.kinds: list[Any] = []

    async def changed(self, _batch: Batch, kind: Any, *_: Any) -> None:
        self.kinds.append(kind)

    async def enqueue(self, *_: Any) -> None: ...

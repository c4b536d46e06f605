"""Of the stop step: so long before a batch's window closes, have what is not answered called line
by line.

In: a batch whose rescue is due. Out: its queued shards switched to ones that are run line by line;
providers asked to cancel, and looked at until they have ended: what they report as never run comes
in a shard of that kind by itself (shard_results.py). What can go wrong: a cancel is refused, is
lost, or takes longer than the window lasts: then its lines are not rescued, as their provider may
still answer and bill them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Step
from core.ledger import Batch, Shard, ShardPurpose, ShardState, may_rescue, now
from core.pipeline import Runtime
from services.collector.poll import Poller

log = structlog.get_logger()

# Looked at again after a third of the time that the rescue has taken so far.
_AGE_SHARE = 0.3
_PAUSE_MIN = 0.3
_PAUSE_MAX = 15.0
# Until the sweep has a look whether what is switched has been forgotten.
_DONE_PAUSE = 600.0
_PARALLEL_CANCELS = 8

_SENT = (ShardPurpose.NONE, ShardPurpose.CANARY)
"""Shards whose lines go to a provider in a batch."""

RescueEndpoints = Mapping[str, Collection[str]]
"""Provider with batches to the endpoints that it can be called for line by line
(KnownProviders.call_endpoints)."""


class Rescuer:
    """Takes rescues on, a look at a time. Any replica may, also several at once."""

    def __init__(
        self,
        runtime: Runtime,
        poller: Poller,
        endpoints: RescueEndpoints,
        line_by_line: Collection[str],
    ) -> None:
        """`line_by_line`: providers without batches, whose lines need no rescue."""
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._poller = poller
        self._endpoints = endpoints
        self._line_by_line = line_by_line

    async def look(self, batch: Batch) -> float | None:
        """Take a batch one step on. Returns seconds until the next look; None: nothing is left
        to do before its window closes."""
        assert batch.rescue_at is not None, "it has a rescue"
        early = (batch.rescue_at - now()).total_seconds()
        if early > 0:
            return early
        pause = min(max(-early * _AGE_SHARE, _PAUSE_MIN), _PAUSE_MAX)
        known = {slug for slug, urls in self._endpoints.items() if batch.endpoint in urls}
        shards = await self._open(batch)
        if not shards:
            return None
        if batch.rescue_started_at is None and not await self._begin(batch, shards, known):
            await self._ledger.batches.defer(batch.id, now() + timedelta(seconds=pause))
            return pause
        able = known - await self._ledger.rescues.paused_providers()
        changed, switched = await self._ledger.rescues.switch(batch.id, able)
        if switched:
            await self._publisher.changed(changed, BatchEvent.SHARD_PROGRESSED)
            for shard_id in switched:
                await self._publisher.enqueue(Step.SUBMIT, batch.id, shard_id)
        left = [
            shard
            for shard in shards
            if shard.provider in known and shard.purpose in _SENT and shard.id not in switched
        ]
        if may_rescue(changed):
            await self._cancel([shard for shard in left if shard.provider in able])
        if not left:
            pause = _DONE_PAUSE
        due = min(now() + timedelta(seconds=pause), batch.expires_at)
        await self._ledger.batches.defer(batch.id, due)
        return pause if left else None

    async def _open(self, batch: Batch) -> Sequence[Shard]:
        return [
            shard
            for shard in await self._ledger.shards.of_batch(batch.id)
            if shard.state != ShardState.SETTLED and not shard.given_up
        ]

    async def _begin(self, batch: Batch, shards: Sequence[Shard], able: Collection[str]) -> bool:
        unable: Counter[str] = Counter()
        for shard in shards:
            if shard.provider not in able and shard.provider not in self._line_by_line:
                unable[shard.provider] += shard.line_count
        begun = await self._ledger.rescues.begin(batch.id, _not_rescued(unable, batch.endpoint))
        if not isinstance(begun, Batch):
            fresh = await self._ledger.batches.get(batch.id)
            return fresh is not None and fresh.rescue_started_at is not None
        log.info("rescue_started", batch_id=batch.id, not_rescued=dict(unable))
        some = any(shard.provider in able for shard in shards)
        kind = BatchEvent.RESCUE_STARTED if some else BatchEvent.BATCH_WAITING
        await self._publisher.changed(begun, kind)
        return True

    async def _cancel(self, shards: Sequence[Shard]) -> None:
        limit = asyncio.Semaphore(_PARALLEL_CANCELS)

        async def see_to(shard: Shard) -> None:
            async with limit:
                await self._see_to(shard)

        async with asyncio.TaskGroup() as tasks:
            for shard in shards:
                tasks.create_task(see_to(shard))

    async def _see_to(self, shard: Shard) -> None:
        if shard.state == ShardState.SUBMITTING and shard.dispatched_at is None:
            # It is being uploaded, and will not be dispatched: its turn comes at the next look.
            await self._ledger.shards.revert_to_queued(shard)
        elif shard.state == ShardState.SUBMITTED:
            await self._poller.cancel(shard)
            await self._poller.poll(shard)


def _not_rescued(unable: Mapping[str, int], endpoint: str) -> str:
    """What is to be said of lines whose providers cannot be called, for people."""
    if not unable:
        return ""
    named = ", ".join(f"{lines:,} lines at {slug}" for slug, lines in sorted(unable.items()))
    return (
        f"not rescued: {named}, which cannot be called here for {endpoint} line by line; unless it "
        "answers them in its batch, they expire with the completion window"
    )

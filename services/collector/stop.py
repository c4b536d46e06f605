"""Stop a batch, for its owner or because its window has closed: send nothing more, ask
the providers to end, keep what was finished.

In: the id of a batch that was cancelled, or whose window closes now. Out: unsent lines settled
as such, providers asked to cancel. What can go wrong: a provider is away (the batch waits for it
for the stop grace, then ends without it; what it has run comes home later, late_results.py).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus import Ack, Delivery, Snooze, Step
from core.ledger import Batch, Shard, ShardPurpose, ShardState, Stop, now
from core.pipeline import LateShards, Runtime
from services.collector.poll import Poller

log = structlog.get_logger()

# Looked at again after a third of the time that the stop has taken so far.
_AGE_SHARE = 0.3
_PAUSE_MIN = 0.3
_PAUSE_MAX = 15.0
# How long the message that waits for the window's end sleeps at a time, so that those
# of batches which have ended go away.
_WINDOW_PAUSE_MAX = 600.0
_PARALLEL_CANCELS = 8


class Stopper:
    """Handles the stop step."""

    def __init__(self, runtime: Runtime, poller: Poller, late: LateShards) -> None:
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._grace = timedelta(seconds=runtime.settings.stop_grace)
        self._poller = poller
        self._late = late

    async def handle(self, item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        """Take a stopping batch on towards its end; again until all its shards are settled.

        For a batch that runs this is the alarm clock of its completion window.
        """
        batch = await self._ledger.batches.get(item.batch_id)
        if batch is None or batch.ended:
            return Ack()
        if not batch.stop:
            remaining = (batch.expires_at - now()).total_seconds()
            if remaining > 0:
                return Snooze(min(remaining, _WINDOW_PAUSE_MAX))
            closed = await self._close_window(batch)
            if closed is None:
                return Ack()
            batch = closed
        settled = await self._ledger.batches.settle_queued(batch.id)
        if isinstance(settled, Batch):
            await self._publisher.changed(settled, BatchEvent.SHARD_SETTLED)
            batch = settled
        open_shards = [
            shard
            for shard in await self._ledger.shards.of_batch(batch.id)
            if shard.state != ShardState.SETTLED and not shard.given_up
        ]
        if not open_shards:
            if batch.shard_count:
                await self._publisher.enqueue(Step.ASSEMBLE, batch.id)
                return Ack()
            await self._publisher.enqueue(Step.PLAN, batch.id)
        if open_shards and all(shard.purpose == ShardPurpose.TWINS for shard in open_shards):
            for shard in open_shards:
                await self._publisher.enqueue(Step.FETCH, batch.id, shard.id)
        overdue = now() - (batch.stopping_at or now()) > self._grace
        limit = asyncio.Semaphore(_PARALLEL_CANCELS)

        async def see_to(shard: Shard) -> None:
            async with limit:
                await self._see_to(shard, Stop(batch.stop), overdue=overdue)

        async with asyncio.TaskGroup() as tasks:
            for shard in open_shards:
                tasks.create_task(see_to(shard))
        age = (now() - (batch.stopping_at or now())).total_seconds()
        pause = min(max(age * _AGE_SHARE, _PAUSE_MIN), _PAUSE_MAX)
        await self._ledger.batches.defer(batch.id, now() + timedelta(seconds=pause))
        return Snooze(pause)

    async def _close_window(self, batch: Batch) -> Batch | None:
        closed = await self._ledger.batches.close_window(batch.id)
        if not isinstance(closed, Batch):
            return None
        log.info("window_closed", batch_id=batch.id)
        await self._publisher.changed(closed, BatchEvent.WINDOW_CLOSED)
        return closed

    async def _see_to(self, shard: Shard, stop: Stop, *, overdue: bool) -> None:
        if shard.purpose == ShardPurpose.TWINS:
            return
        if shard.state == ShardState.RUNNING:
            # Whoever runs it ends it, as soon as its last call has ended.
            if overdue or shard.due_at <= now():
                await self._end_run(shard)
            return
        if shard.state == ShardState.SUBMITTING and shard.dispatched_at is None:
            # It is being uploaded, and will not be dispatched: nothing is sent any more.
            await self._ledger.shards.revert_to_queued(shard)
            return
        if overdue and not (shard.state == ShardState.FETCHING and shard.ran_here):
            # The provider had its time; what it has not given back by now comes late.
            await self._late.give_up(shard, stop)
            return
        if shard.state == ShardState.SUBMITTED:
            await self._poller.cancel(shard)
            await self._poller.poll(shard)

    async def _end_run(self, shard: Shard) -> None:
        """Let a shard go on without its runner: with the results that are kept."""
        batch = await self._ledger.runs.end(shard)
        if isinstance(batch, Batch):
            log.info("run_ended_for_it", batch_id=shard.batch_id, shard_id=shard.id)
            await self._publisher.changed(batch, BatchEvent.SHARD_PROGRESSED, shard)
            await self._publisher.enqueue(Step.FETCH, shard.batch_id, shard.id)

"""Stop a batch, for its owner or because its window has closed: send nothing more, ask
the providers to end, keep what was finished."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus import Again, Delivery, Done, Step
from core.flow import Backbone
from core.ledger import STOP_ERRORS, Batch, Shard, ShardState, Stop, now
from core.providers import ProviderRejected, ProviderUnavailable, Registry
from services.collector.poll import Poller
from services.collector.settle import Settler

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

    def __init__(
        self, backbone: Backbone, providers: Registry, poller: Poller, settler: Settler
    ) -> None:
        self._ledger = backbone.ledger
        self._announcer = backbone.announcer
        self._grace = timedelta(seconds=backbone.settings.stop_grace)
        self._providers = providers
        self._poller = poller
        self._settler = settler

    async def handle(self, item: WorkItem, _delivery: Delivery) -> Done | Again:
        """Take a stopping batch on towards its end; again until all its shards are settled.

        For a batch that runs this is the alarm clock of its completion window.
        """
        batch = await self._ledger.batches.get(item.batch_id)
        if batch is None or batch.ended:
            return Done()
        if not batch.stop:
            remaining = (batch.expires_at - now()).total_seconds()
            if remaining > 0:
                return Again(min(remaining, _WINDOW_PAUSE_MAX))
            closed = await self._close_window(batch)
            if closed is None:
                return Done()
            batch = closed
        settled = await self._ledger.batches.settle_queued(batch.id)
        if isinstance(settled, Batch):
            await self._announcer.changed(settled, BatchEvent.SHARD_SETTLED)
            batch = settled
        open_shards = [
            shard
            for shard in await self._ledger.shards.of_batch(batch.id)
            if shard.state != ShardState.SETTLED
        ]
        if not open_shards:
            if batch.shard_count:
                await self._announcer.wake(Step.ASSEMBLE, batch.id)
                return Done()
            await self._announcer.wake(Step.PLAN, batch.id)
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
        return Again(pause)

    async def _close_window(self, batch: Batch) -> Batch | None:
        closed = await self._ledger.batches.close_window(batch.id)
        if not isinstance(closed, Batch):
            return None
        log.info("window_closed", batch_id=batch.id)
        await self._announcer.changed(closed, BatchEvent.WINDOW_CLOSED)
        return closed

    async def _see_to(self, shard: Shard, stop: Stop, *, overdue: bool) -> None:
        if shard.state == ShardState.RUNNING:
            # Whoever runs it ends it, as soon as its last call has ended.
            if overdue or shard.due_at <= now():
                await self._end_run(shard)
            return
        if overdue and not (shard.state == ShardState.FETCHING and shard.ran_here):
            # The provider had its time; what it has not given back by now is given up.
            log.warning("stop_grace_over", batch_id=shard.batch_id, shard_id=shard.id)
            await self._settler.fill(shard, STOP_ERRORS[stop][0], _given_up(shard, stop))
            return
        provider = self._providers.get(shard.provider)
        if shard.state != ShardState.SUBMITTED or provider is None:
            return
        if not shard.remote_status.startswith("cancel"):
            try:
                await provider.cancel(shard.remote_id)
            except ProviderUnavailable as error:
                log.info("cancel_retried", shard_id=shard.id, cause=str(error))
            except ProviderRejected as error:
                log.warning("cancel_rejected", shard_id=shard.id, code=error.code)
        await self._poller.poll(shard)

    async def _end_run(self, shard: Shard) -> None:
        """Let a shard go on without its runner: with the results that are kept."""
        batch = await self._ledger.runs.end(shard)
        if isinstance(batch, Batch):
            log.info("run_ended_for_it", batch_id=shard.batch_id, shard_id=shard.id)
            await self._announcer.changed(batch, BatchEvent.SHARD_PROGRESSED, shard)
            await self._announcer.wake(Step.FETCH, shard.batch_id, shard.id)


def _given_up(shard: Shard, stop: Stop) -> str:
    """What is to be said of lines that a provider did not give back in time."""
    cause = "was cancelled" if stop is Stop.CANCEL else "came to the end of its completion window"
    batch = f", its batch {shard.remote_id}" if shard.remote_id else ""
    return (
        f"The batch {cause}, and {shard.provider} did not give this line back in the time left "
        f"to it (POLYBATCH_STOP_GRACE). It may have been run and billed{batch}."
    )

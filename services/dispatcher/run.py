"""The run step, where the provider has no batches, or is called for a rescue: run a shard's lines
here.

One dispatcher at a time holds the shard: by a lease in the ledger, which saves work, and
by the shard's log, which nobody but its holder can go on writing (core/pipeline/run_log.py).
At the end the collector fetches the results from that log.

In: the id of a running shard. Out: its results in the log, and its fetch step on the bus. What
can go wrong: another dispatcher has it (come back when its lease is over), its batch or provider is
paused (the calls under way end, then nobody holds it until it is resumed), the log cannot be
written (no further call begins), the process is told to stop (calls under way have a part of
the grace to end; the rest is released).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus import Ack, Delivery, Snooze, Step
from core.ledger import Batch, File, NotHeld, Shard, ShardState, Stale, now
from core.pipeline import PauseWatch, RunLog, RunTaken, Runtime
from core.providers import DirectProvider, DirectRegistry
from services.dispatcher.adaptive_concurrency import AdaptiveConcurrencyLimiter
from services.dispatcher.direct_lines import LineRun, Retries
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.lease_keeper import LeaseKeeper

log = structlog.get_logger()

_HAND_BACK = 0.1
_UNCONFIGURED_PAUSE = 30.0
_WINDOW_PAUSE = 1.0
_FLUSH_SECONDS = 1.0
# Where an answer is money, less of it is at stake.
_GUARDED_FLUSH_SECONDS = 0.5


class Runner:
    """Handles the run step."""

    def __init__(
        self,
        runtime: Runtime,
        providers: DirectRegistry,
        scheduler: FairScheduler,
        pauses: PauseWatch,
    ) -> None:
        self._runtime = runtime
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._publisher = runtime.publisher
        self._lease = timedelta(seconds=runtime.settings.run_lease)
        self._retries = Retries(runtime.settings.retry_limit, runtime.settings.retry_delay)
        self._providers = providers
        self._scheduler = scheduler
        self._pauses = pauses
        self._limiters = {
            slug: AdaptiveConcurrencyLimiter(provider.call_limits)
            for slug, provider in providers.items()
        }
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin no further call; those under way have a part of the grace to end."""
        self._stopping.set()

    async def handle(self, item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        """Hold one shard and run its lines, to its end or until it has to be dispatched."""
        shard = await self._ledger.shards.get(item.shard_id)
        if shard is None or shard.state != ShardState.RUNNING:
            return Ack()
        if self._stopping.is_set():
            return Snooze(_HAND_BACK)
        batch = await self._ledger.batches.get(shard.batch_id)
        if batch is not None and not batch.stop and batch.expires_at <= now():
            # The collector is about to close the window.
            return Snooze(_WINDOW_PAUSE)
        if batch is not None and shard.due_at <= now() and await self._pauses.keep(batch, shard):
            return await self._park(shard)
        held = await self._ledger.runs.claim(shard, self._lease)
        if isinstance(held, Stale):
            return Snooze(max((shard.due_at - now()).total_seconds(), _HAND_BACK))
        file = await self._ledger.files.get_input(batch) if batch else None
        if batch is None or file is None:
            return await self._end(held)
        provider = self._providers.get(held.provider)
        if provider is None and not batch.stop and not batch.halt_code:
            reason = f"this installation has no access to the provider {held.provider!r}"
            changed = await self._ledger.runs.progressed(held, held.finished, reason, self._lease)
            if isinstance(changed, Batch):
                await self._publisher.changed(changed, BatchEvent.SHARD_WAITING, held)
            return Snooze(_UNCONFIGURED_PAUSE)
        try:
            return await self._run(held, batch, file, provider)
        except* RunTaken:
            log.warning("run_lease_lost", batch_id=held.batch_id, shard_id=held.id)
        return Snooze(self._lease.total_seconds())

    async def _run(
        self, shard: Shard, batch: Batch, file: File, provider: DirectProvider | None
    ) -> Ack | Snooze:
        run_log = await RunLog.open(self._blobs, shard.run_prefix, shard.line_count)
        run_log.fence(shard.token)
        await run_log.flush()
        if batch.stop or batch.halt_code or provider is None:
            return await self._end(shard)
        limiter = self._limiters[shard.provider]
        run = LineRun(
            shard,
            batch,
            file,
            provider=provider,
            limiter=limiter,
            run_log=run_log,
            blobs=self._blobs,
            retries=self._retries,
        )
        keeper = LeaseKeeper(
            self._runtime, shard, run, limiter, self._pauses, stopping=self._stopping
        )
        seconds = _FLUSH_SECONDS if provider.call_limits.rerun_lost else _GUARDED_FLUSH_SECONDS
        ids = {"batch_id": shard.batch_id, "shard_id": shard.id, "provider": shard.provider}
        log.info("run_begun", **ids, lines=shard.line_count, kept=run.kept)
        with self._pauses.following(batch.id):
            await self._work(run, keeper, seconds)
        log.info("run_over", **ids, lines=shard.line_count, kept=run.kept, stopped=keeper.stopped)
        if run.complete or keeper.stopped:
            return await self._end(shard)
        if keeper.paused and run.unread is None:
            return await self._park(shard)
        await self._ledger.runs.release(shard)
        if run.unread is not None:
            raise run.unread
        return Snooze(_HAND_BACK if self._stopping.is_set() else _WINDOW_PAUSE)

    async def _work(self, run: LineRun, keeper: LeaseKeeper, seconds: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(run.work(keeper.confirm))
            keeping = tasks.create_task(_keep_results(run, work, seconds))
            tasks.create_task(keeper.keep(keeping))

    async def _park(self, shard: Shard) -> Ack | Snooze:
        """Leave a run as it is until a pause is over: it is woken then."""
        parked = await self._ledger.pauses.hold(shard)
        if isinstance(parked, NotHeld):
            await self._ledger.runs.release(shard)
            return Snooze(_HAND_BACK)
        if isinstance(parked, Stale):
            # Stopped, or somebody else's.
            return Snooze(_WINDOW_PAUSE)
        if parked is not None:
            log.info("run_parked", batch_id=shard.batch_id, shard_id=shard.id)
            await self._publisher.changed(parked, BatchEvent.SHARD_WAITING, shard)
            # It keeps no place from the others.
            await self._scheduler.enqueue_next(shard)
        return Ack()

    async def _end(self, shard: Shard) -> Ack:
        batch = await self._ledger.runs.end(shard)
        if isinstance(batch, Batch):
            await self._publisher.changed(batch, BatchEvent.SHARD_PROGRESSED, shard)
            await self._publisher.enqueue(Step.FETCH, shard.batch_id, shard.id)
        await self._scheduler.enqueue_next(shard)
        return Ack()


async def _keep_results(run: LineRun, work: asyncio.Task[None], seconds: float) -> None:
    """Make durable what has come, every so often and at the end of the work."""
    while not work.done():
        await asyncio.wait([work], timeout=seconds)
        await run.flush()
    # The work may have ended while that wrote: its last answers are not in it.
    await run.flush()

"""The plan step: from a new batch to shards that wait to be submitted.

In: the id of a batch without shards. Out: its shards, committed at once, each with its submit
step on the bus. What can go wrong: the file is gone, or names a provider that this installation
has no access to: the batch fails. A death in between: planned again, the same shards come out.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus import Ack, Delivery, Snooze, Step
from core.ledger import Batch, BatchState, File, Shard, ShardPurpose, Stale
from core.metrics import BATCHES_ENDED
from core.pipeline import Runtime, WaitingForFunds
from core.providers import DirectProvider, Provider
from services.dispatcher.reuse import ReusePlanner
from services.dispatcher.sharding import ProviderMissing, plan_shards, unfit_flags

log = structlog.get_logger()


class Planner:
    """Handles the plan step."""

    def __init__(
        self, runtime: Runtime, providers: Mapping[str, Provider | DirectProvider]
    ) -> None:
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._publisher = runtime.publisher
        self._providers = providers
        self._waiting = WaitingForFunds(runtime.ledger, runtime.publisher)
        self._reuse = ReusePlanner(runtime, providers)

    async def handle(self, item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        """Plan one batch."""
        batch = await self._ledger.batches.get(item.batch_id)
        if batch is None or batch.shard_count:
            return Ack()
        if batch.state not in (BatchState.VALIDATING, BatchState.CANCELLING):
            return Ack()
        file = await self._ledger.files.get_input(batch)
        if file is None:
            return await self._fail(batch, "input_file_missing", "The input file is gone.")
        try:
            shards, saved_nanos = await self._plan(batch, file)
        except ProviderMissing as error:
            return await self._fail(
                batch,
                "provider_not_configured",
                f"This installation has no access to the provider {error.provider!r}: "
                "set its key and start the dispatcher and the collector again.",
            )
        planned = await self._ledger.batches.plan(batch.id, shards, saved_nanos)
        if isinstance(planned, Stale):
            return Ack()
        log.info("batch_planned", batch_id=batch.id, shards=len(shards), lines=batch.total)
        await self._publisher.changed(planned, BatchEvent.PLANNED)
        if planned.all_settled:
            await self._publisher.enqueue(Step.ASSEMBLE, batch.id)
            return Ack()
        # Wakes the collector when the completion window closes.
        await self._publisher.enqueue(Step.STOP, batch.id)
        for shard in shards:
            if shard.purpose in (ShardPurpose.REUSED, ShardPurpose.TWINS):
                continue
            await self._publisher.enqueue(Step.SUBMIT, batch.id, shard.id)
        return Ack()

    async def _plan(self, batch: Batch, file: File) -> tuple[list[Shard], int]:
        """Its shards, and what answers of other batches saved. Raises ProviderMissing."""
        if batch.reuse_seconds is None or any(
            group["provider"] not in self._providers for group in file.groups
        ):
            return await plan_shards(batch, file, self._blobs, self._providers), 0
        reuse = await self._reuse.find(batch, file, unfit_flags(batch))
        shards = await plan_shards(batch, file, self._blobs, self._providers, reuse)
        return shards, await self._reuse.settle(batch, file, shards, reuse)

    async def _fail(self, batch: Batch, code: str, message: str) -> Ack:
        failed = await self._ledger.batches.fail(batch.id, code, message)
        if isinstance(failed, Batch):
            BATCHES_ENDED.labels(BatchState.FAILED.value).inc()
            log.warning("batch_failed", batch_id=batch.id, code=code)
            await self._publisher.changed(failed, BatchEvent.ENDED)
            await self._waiting.account(batch.account_id)
        return Ack()

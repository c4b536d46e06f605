"""Handles the plan step: from a new batch to shards that wait to be submitted."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus import Again, Delivery, Done, Step
from core.ledger import Batch, BatchState, Stale
from core.metrics import BATCHES_ENDED
from core.pipeline import Backbone
from core.providers import DirectProvider, Provider
from services.dispatcher.sharding import ProviderMissing, plan_shards

log = structlog.get_logger()


class Planner:
    """Handles the plan step."""

    def __init__(
        self, backbone: Backbone, providers: Mapping[str, Provider | DirectProvider]
    ) -> None:
        self._ledger = backbone.ledger
        self._blobs = backbone.blobs
        self._announcer = backbone.announcer
        self._providers = providers

    async def handle(self, item: WorkItem, _delivery: Delivery) -> Done | Again:
        """Plan one batch."""
        batch = await self._ledger.batches.get(item.batch_id)
        if batch is None or batch.shard_count:
            return Done()
        if batch.state not in (BatchState.VALIDATING, BatchState.CANCELLING):
            return Done()
        file = await self._ledger.files.get_input(batch)
        if file is None:
            return await self._fail(batch, "input_file_missing", "The input file is gone.")
        try:
            shards = await plan_shards(batch, file, self._blobs, self._providers)
        except ProviderMissing as error:
            return await self._fail(
                batch,
                "provider_not_configured",
                f"This installation has no access to the provider {error.provider!r}: "
                "set its key and start the dispatcher and the collector again.",
            )
        planned = await self._ledger.batches.plan(batch.id, shards)
        if isinstance(planned, Stale):
            return Done()
        log.info("batch_planned", batch_id=batch.id, shards=len(shards), lines=batch.total)
        await self._announcer.changed(planned, BatchEvent.PLANNED)
        if planned.all_settled:
            await self._announcer.wake(Step.ASSEMBLE, batch.id)
            return Done()
        # Wakes the collector when the completion window closes.
        await self._announcer.wake(Step.STOP, batch.id)
        for shard in shards:
            await self._announcer.wake(Step.SUBMIT, batch.id, shard.id)
        return Done()

    async def _fail(self, batch: Batch, code: str, message: str) -> Done:
        failed = await self._ledger.batches.fail(batch.id, code, message)
        if isinstance(failed, Batch):
            BATCHES_ENDED.labels(BatchState.FAILED.value).inc()
            log.warning("batch_failed", batch_id=batch.id, code=code)
            await self._announcer.changed(failed, BatchEvent.ENDED)
        return Done()

"""Tell the world of a committed change: events for watchers, work for the next step."""

from __future__ import annotations

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core import tracing
from core.bus import Bus, BusUnavailable, Step
from core.ledger import Batch, BatchState, Ledger, LedgerUnavailable, Shard, now
from core.pipeline.messages import STATES, money

log = structlog.get_logger()

Kind = BatchEvent.Kind


class EventPublisher:
    """Publishes after the commit. What gets lost here, the sweep and the watchers' own
    look at the ledger make good: so nothing is raised when the bus is away."""

    def __init__(self, bus: Bus, ledger: Ledger) -> None:
        self._bus = bus
        self._ledger = ledger

    async def changed(self, batch: Batch, kind: Kind, shard: Shard | None = None) -> None:
        """Publish that a batch changed."""
        event = BatchEvent(
            batch_id=batch.id,
            account_id=batch.account_id,
            revision=batch.revision,
            kind=kind,
            state=STATES[BatchState(batch.state)],
            time=now(),
            cost=money(batch.cost_nanos),
            unpriced_line_count=batch.unpriced_lines,
        )
        if shard is not None:
            event.shard_id = shard.id
            event.provider = shard.provider
            event.provider_batch_id = shard.remote_id
        await self._bus.publish_event(event)

    async def enqueue(self, step: Step, batch_id: str, shard_id: str = "") -> None:
        """Put the next step on the work queue."""
        try:
            await self._bus.publish_work(
                step, batch_id, shard_id, traceparent=await self._traceparent(batch_id)
            )
        except BusUnavailable as error:
            log.warning(
                "wake_lost",
                step=step.value,
                batch_id=batch_id,
                shard_id=shard_id,
                cause=str(error),
            )

    async def _traceparent(self, batch_id: str) -> str:
        """The batch's own, not that of the work at hand: one batch often wakes another."""
        if not tracing.enabled():
            return ""
        try:
            return await self._ledger.batches.traceparent(batch_id)
        except LedgerUnavailable as error:
            log.debug("trace_interrupted", batch_id=batch_id, cause=type(error).__name__)
            return ""

"""Which shards are run line by line at a provider, and which wait for their turn."""

from __future__ import annotations

from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Step
from core.ledger import (
    AtCapacity,
    Batch,
    Figures,
    Held,
    NoFunds,
    OverMaxCost,
    Shard,
    ShardPurpose,
    Stale,
    now,
)
from core.pipeline import Runtime, WaitingForFunds
from core.providers import DirectProvider

log = structlog.get_logger()

# The calls of a provider are shared out evenly over its running shards. Two of a batch
# keep them busy, also while one of them comes to its end; more would only be more of the
# calls for large batches.
_MOST_OF_BATCH = 2
_MOST = 16
_WAIT = timedelta(seconds=60)
_NOT_RECKONED = Figures()


class FairScheduler:
    """Starts shards in fair order."""

    def __init__(self, runtime: Runtime) -> None:
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._waiting_for_funds = WaitingForFunds(runtime.ledger, runtime.publisher)

    async def start(
        self, shard: Shard, provider: DirectProvider, figures: Figures = _NOT_RECKONED
    ) -> OverMaxCost | NoFunds | Held | None:
        """Let a queued shard run, or wait. No message sleeps for it: it is woken.

        Returns why it cannot be paid for, or may not go, if so; then it does not wait yet.
        """
        model = provider.remote_model(shard.model)
        started = await self._ledger.runs.start(
            shard,
            remote_model=model,
            most=_MOST,
            most_of_batch=_MOST_OF_BATCH,
            **figures._asdict(),
        )
        match started:
            case Batch():
                await self._publisher.changed(started, BatchEvent.SHARD_SUBMITTED, shard)
                await self._publisher.enqueue(Step.RUN, shard.batch_id, shard.id)
                # There may be room for one more.
                await self.enqueue_next(shard)
                if shard.waits_for_funds:
                    await self._waiting_for_funds.next(shard.account_id)
            case OverMaxCost() | NoFunds() | Held():
                return started
            case AtCapacity():
                reason = f"waits for its turn: other shards are running at {shard.provider}"
                batch = await self._ledger.shards.wait_for_quota(
                    shard, reason, now() + _WAIT, figures
                )
                if isinstance(batch, Batch):
                    await self._publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)
            case Stale():
                log.debug("start_not_wanted", batch_id=shard.batch_id, shard_id=shard.id)
        return None

    async def enqueue_next(self, shard: Shard) -> None:
        """There may be capacity beside a shard, or after it: enqueue the one whose turn it is."""
        rescue = shard.purpose == ShardPurpose.RESCUE
        waiting = await self._ledger.runs.next_waiting(
            shard.provider, _MOST, _MOST_OF_BATCH, ShardPurpose.RESCUE if rescue else None
        )
        if waiting is not None:
            await self._publisher.enqueue(Step.SUBMIT, waiting.batch_id, waiting.id)

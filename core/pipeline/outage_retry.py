"""Work that waits while the database or the storage is away or full, and says so."""

from __future__ import annotations

from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.backoff import backoff
from core.blobs import BlobMissing, BlobUnavailable, is_full
from core.bus import Ack, Delivery, Handler, Snooze
from core.ledger import Batch, LedgerUnavailable, ShardState, now
from core.pipeline.runtime import Runtime

log = structlog.get_logger()

_FIRST_PAUSE = 0.5
_LEDGER_PAUSE_MAX = 5.0
# Each attempt may translate a shard anew, or fetch its results.
_STORAGE_PAUSE_MAX = 15.0

_FULL = "the service's disk is full; it goes on when there is room"
_AWAY = "the service's storage does not answer"


def outage_retry(runtime: Runtime, handler: Handler) -> Handler:
    """A handler whose items come back soon while something is away, however often it fails.

    The shard, or the batch as a whole, shows why it waits. All else that the handler raises
    passes through.
    """

    async def handle(item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        try:
            return await handler(item, delivery)
        except LedgerUnavailable as error:
            return _again(item, delivery, _LEDGER_PAUSE_MAX, error)
        except BlobMissing:
            if not await _settled(runtime, item):
                raise
            # Somebody else has ended it meanwhile, and its batch, and what it was to read is gone.
            log.info("work_done_elsewhere", batch_id=item.batch_id, shard_id=item.shard_id)
            return Ack()
        except (BlobUnavailable, OSError) as error:
            full = is_full(error)
            if not full and not isinstance(error, BlobUnavailable):
                raise
            again = _again(item, delivery, _STORAGE_PAUSE_MAX, error)
            try:
                await _show(runtime, item, _FULL if full else _AWAY, again.delay)
            except LedgerUnavailable as away:
                # It stands on the same disk, often.
                log.warning("wait_not_shown", shard_id=item.shard_id, cause=str(away))
            return again

    return handle


def _again(item: WorkItem, delivery: Delivery, longest: float, error: Exception) -> Snooze:
    pause = backoff(_FIRST_PAUSE, delivery.count, longest, spread=True)
    log.warning(
        "work_waits",
        batch_id=item.batch_id,
        shard_id=item.shard_id,
        deliveries=delivery.count,
        retry_in=round(pause, 2),
        cause=str(error),
    )
    return Snooze(pause)


async def _settled(runtime: Runtime, item: WorkItem) -> bool:
    """Whether a shard has its end; of a batch as a whole its own step asks."""
    shard = await runtime.ledger.shards.get(item.shard_id) if item.shard_id else None
    return shard is not None and shard.state == ShardState.SETTLED


async def _show(runtime: Runtime, item: WorkItem, reason: str, pause: float) -> None:
    """Show why it waits, and let the sweep expect it no sooner than its message comes back."""
    ledger, publisher = runtime.ledger, runtime.publisher
    due = now() + timedelta(seconds=pause)
    if not item.shard_id:
        waiting = await ledger.batches.wait(item.batch_id, reason, due)
        if isinstance(waiting, Batch):
            await publisher.changed(waiting, BatchEvent.BATCH_WAITING)
        return
    shard = await ledger.shards.get(item.shard_id)
    if shard is None:
        return
    batch = await ledger.shards.unreachable(shard, reason, due)
    if isinstance(batch, Batch):
        await publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)

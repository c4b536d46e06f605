"""The sweep: puts work on the bus again for rows that have waited too long.

The bus only wakes people up. Whatever it lost (a message, or its whole store), the
ledger still says what was due, and the sweep publishes that again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from core.bus import Step
from core.ledger import Batch, LedgerUnavailable, Shard, ShardState, now
from core.metrics import SWEEP_WOKEN
from core.pipeline.runtime import Runtime
from core.pipeline.timing import repeat

log = structlog.get_logger()

_PAGE = 500
_QUEUE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Watched:
    """Which shards a service sweeps, and what wakes the one who sees to them."""

    states: Sequence[ShardState]
    step: Step


class Sweep:
    """Runs every POLYBATCH_SWEEP_INTERVAL seconds until its service stops.

    A row is overdue when the time at which its next step was expected lies more than
    one interval back. Of several replicas one takes it, by making that time now; of a shard
    that stands in a long queue, the later the longer it has stood there.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        shards: Sequence[Watched] = (),
        batches: Callable[[Batch], Step | None] | None = None,
        late: bool = False,
    ) -> None:
        """`late`: also what is left to do for ended batches: late answers to be merged, and
        uploads to be deleted."""
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._interval = timedelta(seconds=runtime.settings.sweep_interval)
        self._shards = shards
        self._batches = batches
        self._late = late

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop` is set; the round under way is ended first."""
        await repeat(self._once_or_log, self._interval.total_seconds(), stop)

    async def _once_or_log(self) -> None:
        try:
            if hung := await self._ledger.end_hung():
                log.warning("hung_connections_ended", connections=hung)
            await self.once()
        except LedgerUnavailable as error:
            # The database may come back; the next round looks again.
            log.warning("sweep_failed", cause=str(error))

    async def once(self) -> int:
        """One round. Returns the number of rows that were woken."""
        woken = 0
        before = now() - self._interval
        for watched in self._shards:
            for shard in await self._ledger.shards.overdue(watched.states, before, _PAGE):
                if await self._ledger.shards.take_overdue(shard, _next_look(shard)):
                    await self._publisher.enqueue(watched.step, shard.batch_id, shard.id)
                    SWEEP_WOKEN.labels(watched.step.value).inc()
                    woken += 1
        if self._batches is not None:
            for batch in await self._ledger.batches.overdue(before, _PAGE):
                step = self._batches(batch)
                if step is not None and await self._ledger.batches.take_overdue(
                    batch.id, batch.due_at
                ):
                    await self._publisher.enqueue(step, batch.id)
                    SWEEP_WOKEN.labels(step.value).inc()
                    woken += 1
        if self._late:
            for shard in await self._ledger.late.overdue(before, _PAGE):
                if await self._ledger.shards.take_overdue(shard, now()):
                    await self._publisher.enqueue(Step.ASSEMBLE, shard.batch_id)
                    SWEEP_WOKEN.labels(Step.ASSEMBLE.value).inc()
                    woken += 1
            for batch_id in await self._ledger.remote_files.due(_PAGE):
                await self._publisher.enqueue(Step.ASSEMBLE, batch_id)
                SWEEP_WOKEN.labels(Step.ASSEMBLE.value).inc()
                woken += 1
        if woken:
            log.info("sweep_woke", rows=woken)
        return woken


def _next_look(shard: Shard) -> datetime:
    """When a shard that was woken is due; one interval later it is woken again."""
    if shard.state != ShardState.QUEUED:
        return now()
    # Its item may well be there, behind many others: no more of them with each round.
    return now() + (now() - shard.created_at) * _QUEUE_SHARE

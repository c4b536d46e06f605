"""What follows for the others of its batch where a shard has got its outcome, or is given up.

In: the shard, and its batch as the ledger has judged it with that (core.ledger.halting). Out:
events of what was judged; work items for what waited for this. What can go wrong: a wake is lost;
the sweep finds what is overdue.
"""

from __future__ import annotations

from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Step
from core.ledger import Batch, CanaryState, Shard, ShardPurpose
from core.pipeline.pauses import HeldShards
from core.pipeline.runtime import Runtime

_CANARY_ENDED = (CanaryState.PASSED, CanaryState.FAILED)


class Consequences:
    """Announces what was judged, and wakes the lines that waited for others of their batch."""

    def __init__(self, runtime: Runtime) -> None:
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._held = HeldShards(runtime.ledger, runtime.publisher)

    async def of(self, shard: Shard, batch: Batch) -> None:
        """`shard`: as it was before; `batch`: as it is since."""
        if batch.halted_revision == batch.revision:
            await self._publisher.changed(batch, BatchEvent.HALTED)
        # No shard of a canary gets its outcome after the last one, which it is judged by; one that
        # was given up had it then.
        of_canary = shard.purpose == ShardPurpose.CANARY and not shard.given_up
        if of_canary and batch.canary_state in _CANARY_ENDED:
            await self._publisher.changed(batch, BatchEvent.CANARY_ENDED)
            await self._held.of_batch(batch.id)
        # The first of the lines that take answers of others wakes no further ones: all are awake.
        if batch.reuse_seconds is None or batch.all_settled or shard.purpose == ShardPurpose.TWINS:
            return
        for twins in await self._ledger.lending.ready_twins(batch.id):
            await self._publisher.enqueue(Step.FETCH, batch.id, twins)

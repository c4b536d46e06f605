"""Rescues: before the completion window of a batch closes, what is not answered is called line by
line.

    QUEUED --switched--> QUEUED for rescue --started--> RUNNING --> FETCHING --> SETTLED

What a provider may still answer is not switched: its lines come into a shard of their own once the
provider has reported that it never ran them (services/collector/shard_results.py).
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import update
from sqlmodel import col, select

from core.failpoints import Failpoint
from core.ledger.progress import advance
from core.ledger.states import BatchState, CanaryState, ShardPurpose, ShardState, Stale, Stop
from core.ledger.tables import Batch, ProviderPause, Shard, now
from core.ledger.transitions import ShardTransitions

_NEVER_SENT = (ShardPurpose.REUSED, ShardPurpose.TWINS)
"""They take answers of other lines."""


class Rescues(ShardTransitions):
    """Rescues of all batches."""

    async def begin(self, batch_id: str, reason: str) -> Batch | Stale:
        """Begin the rescue of a batch, once. `reason`: why some of it is not rescued, for people.

        Stale before its time, after it, and while the batch is paused, halted, stopped, or waits
        for its canary.
        """
        async with self._database.write(Failpoint.BATCH_RESCUE) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.rescue_started_at is not None or not may_rescue(batch):
                return Stale(batch_id)
            moment = now()
            return await advance(
                session, batch, rescue_started_at=moment, waiting_reason=reason, due_at=moment
            )

    async def switch(self, batch_id: str, providers: Collection[str]) -> tuple[Batch, list[str]]:
        """Have the queued shards for these providers called line by line.

        Returns the batch and the ids of those that were not yet to be. Whoever was about to send
        one as a batch finds it switched.
        """
        async with self._database.write(Failpoint.SHARD_SWITCH) as session:
            batch = await self._database.lock_batch(session, batch_id)
            assert batch is not None, "whoever rescues it has read it"
            if batch.rescue_started_at is None or not may_rescue(batch):
                return batch, []
            switched = await session.exec(
                update(Shard)
                .where(
                    col(Shard.batch_id) == batch_id,
                    col(Shard.state) == ShardState.QUEUED,
                    col(Shard.provider).in_(providers),
                    col(Shard.purpose).not_in((*_NEVER_SENT, ShardPurpose.RESCUE)),
                )
                .values(
                    purpose=ShardPurpose.RESCUE,
                    # What they can cost is another amount now.
                    expected_nanos=0,
                    at_most_nanos=0,
                    waits_for_quota=False,
                    waits_for_funds=False,
                    waiting_reason="",
                    # It may have been at its provider, which refused it.
                    submitted_at=None,
                    due_at=now(),
                )
                .returning(col(Shard.id))
                .execution_options(synchronize_session=False)
            )
            found = list(switched.scalars())
            return (await advance(session, batch) if found else batch), found

    async def paused_providers(self) -> frozenset[str]:
        """Those to which nothing is sent, by order of an operator."""
        async with self._database.read() as session:
            return frozenset(await session.exec(select(ProviderPause.provider)))


def may_rescue(batch: Batch) -> bool:
    """Whether lines of a batch may be called line by line now."""
    return (
        batch.state == BatchState.IN_PROGRESS
        and batch.stop == Stop.NONE
        and batch.paused_at is None
        and not batch.halt_code
        and batch.canary_state in (CanaryState.NONE, CanaryState.PASSED)
        and batch.rescue_at is not None
        and batch.rescue_at <= now() < batch.expires_at
    )

"""Batches of an account whose answers others may take (see docs/adr/0044)."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import col, select

from core.ledger.database import Database
from core.ledger.states import TERMINAL, ResultsGone, ShardPurpose, ShardState
from core.ledger.tables import Batch, Shard


class Lending:
    """Finds batches that lend, and lines that wait for the answers of equal ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def batches(self, account_id: str, since: datetime, most: int) -> list[Batch]:
        """Those that ended, lend, and were made since a moment, newest first."""
        query = (
            select(Batch)
            .where(
                Batch.account_id == account_id,
                col(Batch.created_at) >= since,
                col(Batch.state).in_(TERMINAL),
                col(Batch.reuse_seconds).is_not(None),
                col(Batch.deleted_at).is_(None),
                Batch.results_prefix != "",
                Batch.results_gone == ResultsGone.NONE,
            )
            .order_by(col(Batch.created_at).desc(), col(Batch.id))
            .limit(most)
        )
        async with self._database.read() as session:
            return list(await session.exec(query))

    async def ready_twins(self, batch_id: str) -> list[str]:
        """Ids of a batch's shards whose lines take the answers of others, once these have all
        theirs; none before."""
        query = select(Shard.id, Shard.purpose).where(
            Shard.batch_id == batch_id,
            Shard.state != ShardState.SETTLED,
            col(Shard.given_up_at).is_(None),
        )
        async with self._database.read() as session:
            found = list(await session.exec(query))
        if any(purpose != ShardPurpose.TWINS for _, purpose in found):
            return []
        return [shard_id for shard_id, _ in found]

"""Prices and costs of batches from before they were kept, written after the fact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import exists, func, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.credits import charge_for_the_record
from core.ledger.database import Database
from core.ledger.spend import ModelSpend, usage_rows
from core.ledger.states import ShardState
from core.ledger.tables import Batch, Shard, UsageRow


def _unreckoned() -> Any:
    """Settled shards that used tokens and have no row of usage."""
    counted = exists().where(col(UsageRow.shard_id) == col(Shard.id))
    return (
        (col(Shard.state) == ShardState.SETTLED)
        & ((col(Shard.input_tokens) > 0) | (col(Shard.output_tokens) > 0))
        & ~counted
    )


class Backfills:
    """What is written twice by two that try comes out once: by the lock of the batch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, after: str, limit: int) -> list[str]:
        """Ids of batches without prices or with shards to be reckoned, from behind one on."""
        query = (
            select(Batch.id)
            .where(
                col(Batch.id) > after,
                or_(
                    col(Batch.prices).is_(None),
                    exists().where(col(Shard.batch_id) == col(Batch.id), _unreckoned()),
                ),
            )
            .order_by(col(Batch.id))
            .limit(limit)
        )
        async with self._database.read() as session:
            return list(await session.exec(query))

    async def keep_prices(self, batch_id: str, prices: str) -> str:
        """Give a batch prices if it has none; returns those that it has then."""
        async with self._database.write(Failpoint.BATCH_PRICES) as session:
            await session.exec(
                update(Batch)
                .where(col(Batch.id) == batch_id, col(Batch.prices).is_(None))
                .values(prices=prices)
                .execution_options(synchronize_session=False)
            )
            kept = await session.exec(select(Batch.prices).where(Batch.id == batch_id))
            return str(kept.one())

    async def reckon(
        self, batch_id: str, spend_of: Callable[[Shard], ModelSpend], limit: int
    ) -> int:
        """Write what settled shards of a batch cost, at most so many; returns how many."""
        async with self._database.write(Failpoint.SHARD_BACKFILL) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None:
                return 0
            found = await session.exec(
                select(Shard).where(Shard.batch_id == batch_id, _unreckoned()).limit(limit)
            )
            shards = list(found)
            for shard in shards:
                spend = spend_of(shard)
                session.add_all(usage_rows(batch, shard, [spend]))
                shard.cost_nanos, shard.unpriced_lines = spend.cost_nanos, spend.unpriced_lines
            await session.flush()
            if shards:
                await _sum_up(session, batch_id)
            for shard in shards:
                await charge_for_the_record(session, batch, shard, shard.cost_nanos)
            return len(shards)


async def _sum_up(session: AsyncSession, batch_id: str) -> None:
    # Not by `advance`: the counts of a batch that has ended never change again.
    sums = select(
        func.sum(col(Shard.cost_nanos)).label("cost_nanos"),
        func.sum(col(Shard.unpriced_lines)).label("unpriced_lines"),
    ).where(col(Shard.batch_id) == batch_id)
    found: Any = (await session.exec(sums)).one()
    await session.exec(
        update(Batch)
        .where(col(Batch.id) == batch_id)
        .values(
            revision=col(Batch.revision) + 1,
            cost_nanos=found.cost_nanos,
            unpriced_lines=found.unpriced_lines,
        )
        .execution_options(synchronize_session=False)
    )

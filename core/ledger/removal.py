"""Batches and results that go: by their owner's wish, or for their age.

First a transition hides them, then a sweep deletes what lies in the blobs; it comes again to what
a crash has left. Late answers of a batch that is gone are charged and dropped (core.ledger.late);
what their shards need stays until the last of them has come.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlmodel import col, select

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.progress import advance
from core.ledger.states import ResultsGone, Stale
from core.ledger.tables import Batch, BatchTerm, now


class NoResults:
    """The batch failed before any line ran: it never had results."""


class Removal:
    """Deleting batches and results of all accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete(self, account_id: str, batch_id: str) -> Batch | Stale | None:
        """Delete an ended batch for its owner. Stale: it has not ended; None: there is none.

        The request id that made it is free again.
        """
        async with self._database.write(Failpoint.BATCH_DELETE) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.account_id != account_id or batch.deleted_at is not None:
                return None
            if not batch.ended:
                return Stale(batch_id)
            await session.exec(delete(BatchTerm).where(col(BatchTerm.batch_id) == batch_id))
            moment = now()
            return await advance(
                session,
                batch,
                deleted_at=moment,
                removal_due_at=moment,
                request_id=None,
                request_digest="",
                name="",
                name_folded="",
                details={},
                errors=[],
                common_cause=None,
                halt_message="",
                webhook_url="",
                traceparent="",
                **_gone(),
            )

    async def delete_results(
        self, account_id: str, batch_id: str, which: ResultsGone
    ) -> Batch | Stale | NoResults | None:
        """Delete results of an ended batch for its owner, or some of them; as `delete`.

        What is deleted already is so again.
        """
        async with self._database.write(Failpoint.BATCH_DELETE_RESULTS) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.account_id != account_id or batch.deleted_at is not None:
                return None
            if not batch.ended:
                return Stale(batch_id)
            before = ResultsGone(batch.results_gone)
            if not batch.results_prefix and before != ResultsGone.ALL:
                return NoResults()
            after = before | which
            if after == before:
                return batch
            if not batch.awaited:
                # Lines that there are none of hold nothing up.
                after |= ResultsGone.NONE if batch.succeeded else ResultsGone.SUCCEEDED
                after |= ResultsGone.NONE if batch.failed else ResultsGone.FAILED
            if after != ResultsGone.ALL:
                return await advance(session, batch, results_gone=after)
            return await advance(session, batch, removal_due_at=now(), **_gone())

    async def due(self, limit: int) -> list[Batch]:
        """Batches of which the sweep has something to delete, longest due first."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Batch)
                .where(col(Batch.removal_due_at) <= now())
                .order_by(col(Batch.removal_due_at))
                .limit(limit)
            )
            return list(found)

    async def claim(self, batch: Batch, lease: timedelta) -> Batch | None:
        """Take a due batch on, for the length of the lease: one sweeper gets it."""
        async with self._database.write(Failpoint.BATCH_CLAIM_REMOVAL) as session:
            found = await session.exec(
                update(Batch)
                .where(col(Batch.id) == batch.id, col(Batch.removal_due_at) == batch.removal_due_at)
                .values(removal_due_at=now() + lease)
                .returning(Batch)
                .execution_options(populate_existing=True)
            )
            return found.scalars().first()

    async def expire_results(self, batch_id: str) -> Batch | Stale:
        """Hide the results of a batch that were to be kept until now."""
        async with self._database.write(Failpoint.BATCH_EXPIRE_RESULTS) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or not is_past(batch) or batch.results_gone == ResultsGone.ALL:
                return Stale(batch_id)
            return await advance(session, batch, **_gone())

    async def done(self, claimed: Batch, due_at: datetime | None) -> bool:
        """Note that what was due is deleted, and what is due next.

        False: it has become due anew meanwhile, as late answers have come.
        """
        async with self._database.write(Failpoint.BATCH_REMOVED) as session:
            done = await session.exec(
                update(Batch)
                .where(
                    col(Batch.id) == claimed.id,
                    col(Batch.removal_due_at) == claimed.removal_due_at,
                )
                .values(removal_due_at=due_at)
            )
            return bool(done.rowcount)


def is_past(batch: Batch) -> bool:
    """Whether an ended batch is deleted, or its results and input were to be kept until now."""
    if batch.deleted_at is not None:
        return True
    return batch.results_expire_at is not None and batch.results_expire_at <= now()


def _gone() -> dict[str, object]:
    return {"results_gone": ResultsGone.ALL, "results_prefix": ""}

"""Batches: reading them. What changes them is in `batches`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import col, select

from core.ledger.batch_search import Condition, search, terms_to_weigh, weigh
from core.ledger.database import Database
from core.ledger.states import TERMINAL, BatchState
from core.ledger.tables import Batch

_OF_REQUEST = select(Batch).where(
    Batch.account_id == bindparam("account_id"), Batch.request_id == bindparam("request_id")
)
_PRICES = select(Batch.prices).where(Batch.id == bindparam("batch_id"))
_MANY = select(Batch).where(col(Batch.id).in_(bindparam("batch_ids", expanding=True)))


class BatchReads:
    """Reads of batches. Those for callers name the account that asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_request(self, account_id: str, request_id: str) -> Batch | None:
        """The batch that a request id made; None once it is deleted."""
        async with self._database.read() as session:
            found = await session.exec(
                _OF_REQUEST, params={"account_id": account_id, "request_id": request_id}
            )
            return found.first()

    async def get(self, batch_id: str, account_id: str | None = None) -> Batch | None:
        """A batch, if it belongs to the account and is not deleted.

        `account_id` None: whoever it belongs to, and for the books also after its deletion.
        """
        async with self._database.read() as session:
            batch = await session.get(Batch, batch_id)
            if batch is None or account_id is None:
                return batch
            return batch if batch.account_id == account_id and batch.deleted_at is None else None

    async def prices(self, batch_id: str) -> str | None:
        """The prices that held when a batch was made, in JSON (core.prices.snapshot).

        None: the batch was made before prices were kept, or there is no such batch.
        """
        async with self._database.read() as session:
            found = await session.exec(_PRICES, params={"batch_id": batch_id})
            return found.first()

    async def traceparent(self, batch_id: str) -> str:
        """The span context that a batch was made in; empty if it was not traced."""
        async with self._database.read() as session:
            found = await session.exec(select(Batch.traceparent).where(Batch.id == batch_id))
            return found.first() or ""

    async def get_many(self, batch_ids: Sequence[str]) -> list[Batch]:
        """Batches by id, whoever they belong to; those that are not there are left out."""
        async with self._database.read() as session:
            return list(await session.exec(_MANY, params={"batch_ids": list(batch_ids)}))

    async def page(
        self,
        account_id: str,
        size: int,
        after: tuple[datetime, str] | None,
        states: Sequence[BatchState] = (),
        conditions: Sequence[Condition] = (),
        *,
        oldest_first: bool = False,
    ) -> list[Batch]:
        """Batches newest first, from behind the (created_at, id) of the last one seen.

        `states`: one of these; `conditions`: all of them.
        """
        async with self._database.read() as session:
            terms = terms_to_weigh(conditions)
            leading = terms[0] if terms else None
            if len(terms) > 1:
                counts = [
                    (await session.exec(weigh(account_id, each))).scalar_one() for each in terms
                ]
                leading = terms[counts.index(min(counts))]
            query = search(
                account_id,
                size,
                after,
                states,
                conditions,
                leading,
                oldest_first=oldest_first,
            )
            return list((await session.exec(query)).scalars())

    async def overdue(self, before: datetime, limit: int) -> list[Batch]:
        """Batches whose next step was expected before a moment, longest waiting first."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Batch)
                .where(col(Batch.state).not_in(TERMINAL), col(Batch.due_at) < before)
                .order_by(col(Batch.due_at))
                .limit(limit)
            )
            return list(found)

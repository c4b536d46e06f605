"""Families: batches, those that retry lines of them, and the retries of these.

A line of a retry keeps its number in the file that was uploaded, whichever generation it is of; so
lines of a family are told apart by number alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, update
from sqlalchemy.orm import aliased
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.ledger.database import Database
from core.ledger.tables import Batch, File, Upload

MOST_GENERATIONS = 100
"""A retry of a retry of a retry, and so on: so many."""


@dataclass(frozen=True, slots=True)
class NewRetry:
    """What makes a new batch a retry."""

    file: File
    """With the lines that it runs; recorded together with the batch."""
    ancestors: Sequence[str]
    """Ids of the batches that it retries lines of, from the first to its parent."""
    retries: int
    """How many the first of these had when the lines were chosen."""


class FamilyChanged:
    """Another retry was made since the lines were chosen: choose anew."""


@dataclass(frozen=True, slots=True)
class FamilyFacts:
    """What a batch shows of its retries."""

    child_ids: Sequence[str] = ()
    """Oldest first."""
    cost_nanos: int = 0
    """Of itself and all of them."""


class Families:
    """Families of all accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def members(self, batch_id: str) -> list[Batch]:
        """A batch, its retries and theirs, oldest first; deleted ones as well."""
        family = select(Batch.id).where(Batch.id == batch_id).cte("family", recursive=True)
        child = aliased(Batch)
        family = family.union(
            select(child.id).where(col(child.parent_id) == family.c.id, col(child.parent_id) != "")
        )
        query = (
            select(Batch)
            .where(col(Batch.id).in_(select(family.c.id)))
            .order_by(col(Batch.created_at), col(Batch.id))
        )
        async with self._database.read() as session:
            return list(await session.exec(query))

    async def ancestors(self, batch: Batch) -> list[Batch]:
        """The batches that it retries lines of, from the first to its parent, and itself."""
        found = [batch]
        async with self._database.read() as session:
            while found[0].parent_id:
                parent = await session.get(Batch, found[0].parent_id)
                if parent is None:
                    break
                found.insert(0, parent)
        return found

    async def facts(self, batches: Sequence[Batch]) -> dict[str, FamilyFacts]:
        """Of those that have retries. Asks nothing where none has."""
        tops = {batch.id: batch for batch in batches if batch.retries}
        if not tops:
            return {}
        children: dict[str, list[str]] = {batch_id: [] for batch_id in tops}
        costs = {batch_id: batch.cost_nanos for batch_id, batch in tops.items()}
        # Which of the batches asked for each of a generation descends from.
        generation = {batch_id: {batch_id} for batch_id in tops}
        async with self._database.read() as session:
            for depth in range(MOST_GENERATIONS):
                if not generation:
                    break
                found = await session.exec(
                    select(Batch.id, Batch.parent_id, Batch.cost_nanos, Batch.deleted_at)
                    .where(col(Batch.parent_id).in_(generation), Batch.parent_id != "")
                    .order_by(col(Batch.created_at), col(Batch.id))
                )
                following: dict[str, set[str]] = {}
                for batch_id, parent_id, cost, deleted_at in found:
                    following[batch_id] = generation[parent_id]
                    for top in generation[parent_id]:
                        costs[top] += cost
                    if depth == 0 and deleted_at is None:
                        children[parent_id].append(batch_id)
                generation = following
        return {batch_id: FamilyFacts(children[batch_id], costs[batch_id]) for batch_id in tops}


async def lock_ancestors(session: AsyncSession, database: Database, retry: NewRetry) -> bool:
    """Lock the batches that a retry is of; whether it is the only one since its lines were chosen.

    From the first on: who locks several batches does it in this order.
    """
    for generation, batch_id in enumerate(retry.ancestors):
        ancestor = await database.lock_batch(session, batch_id)
        if ancestor is None:
            return False
        if batch_id == retry.ancestors[-1] and ancestor.deleted_at is not None:
            return False
        if generation == 0 and ancestor.retries != retry.retries:
            return False
    return True


async def add_retry(session: AsyncSession, retry: NewRetry) -> None:
    """Record the file of a new retry, and with its ancestors that there is one more.

    Their revisions rise, as their watchers see it.
    """
    await session.exec(
        update(Batch)
        .where(col(Batch.id).in_(retry.ancestors))
        .values(retries=col(Batch.retries) + 1, revision=col(Batch.revision) + 1)
    )
    session.add(retry.file)
    await session.exec(
        delete(Upload).where(
            col(Upload.account_id) == retry.file.account_id,
            col(Upload.upload_id) == retry.file.upload_id,
        )
    )

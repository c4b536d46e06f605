"""How a shard moves: one conditional UPDATE, in a transaction that raises its batch's revision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import exists, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.progress import advance
from core.ledger.states import ShardState, Stale
from core.ledger.tables import Batch, ProviderPause, Shard

# Within the UPDATE that lets a shard go: a pause costs nobody a query.
_MAY_GO = (
    exists().where(
        col(Batch.id) == col(Shard.batch_id),
        col(Batch.paused_at).is_(None),
        col(Batch.halt_code) == "",
    ),
    ~exists().where(col(ProviderPause.provider) == col(Shard.provider)),
)


class Held:
    """Nothing may be sent of a shard now: its batch or its provider is paused, or halted."""


class ShardTransitions:
    """What every repository of shards is made of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _transition(
        self,
        point: Failpoint,
        shard: Shard,
        states: Sequence[ShardState],
        *,
        also: Callable[[AsyncSession, Database, Shard, Batch], Awaitable[None]] | None = None,
        **changes: Any,
    ) -> Batch | Stale:
        """`also`: what is written together with it, once the shard has moved."""
        async with self._locked(point, shard.id) as (session, batch, fresh):
            if fresh is None or not await self._move(session, shard, states, **changes):
                return Stale(shard.id)
            if also is not None:
                await also(session, self._database, shard, batch)
            return await advance(session, batch)

    @asynccontextmanager
    async def _locked(
        self, point: Failpoint, shard_id: str
    ) -> AsyncIterator[tuple[AsyncSession, Batch, Shard | None]]:
        """A write transaction that holds the lock of the shard's batch.

        Every transition locks the batch before its shard: one order, no deadlock.
        """
        async with self._database.write(point) as session:
            batch = await self._database.lock_batch_of(session, shard_id)
            if batch is None:
                yield session, Batch(), None  # type: ignore[call-arg]
                return
            shard = await session.get(Shard, shard_id, populate_existing=True)
            yield session, batch, shard

    async def _move(
        self,
        session: AsyncSession,
        shard: Shard,
        states: Sequence[ShardState],
        *,
        same_due: bool = False,
        unsent: bool = False,
        sent: bool = False,
        awaited: bool = False,
        let_go: bool = False,
        **changes: Any,
    ) -> bool:
        """The conditional UPDATE: only in these states and for this attempt's token.

        `same_due`: only if nobody has moved the time when it is due; `unsent`: only if the
        attempt's create has not been dispatched; `sent`: only if it has; `awaited`:
        only if its batch still waits for it; `let_go`: only if neither its batch nor its provider
        is paused, and its batch goes on.
        """
        conditions = [
            col(Shard.id) == shard.id,
            col(Shard.state).in_(states),
            col(Shard.token) == shard.token,
        ]
        if same_due:
            conditions.append(col(Shard.due_at) == shard.due_at)
        if unsent:
            conditions.append(col(Shard.dispatched_at).is_(None))
        if sent:
            conditions.append(col(Shard.dispatched_at).is_not(None))
        if awaited:
            conditions.append(col(Shard.given_up_at).is_(None))
        if let_go:
            conditions += _MAY_GO
        moved = await session.exec(
            update(Shard)
            .where(*conditions)
            .values(**changes)
            .returning(Shard)
            # What the session holds of the shard is brought up to date without a second look.
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        return moved.first() is not None

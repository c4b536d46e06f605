"""How a shard moves: one conditional UPDATE, in a transaction that raises its batch's revision."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from sqlalchemy import bindparam, case, exists, func, update
from sqlalchemy.sql.dml import Update
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.progress import advance, written
from core.ledger.statements import made_once
from core.ledger.states import ShardState, Stale, Stop
from core.ledger.tables import Batch, ProviderPause, Shard, now

_shards: Any = Shard.__table__  # type: ignore[attr-defined]
_batches: Any = Batch.__table__  # type: ignore[attr-defined]
_pauses: Any = ProviderPause.__table__  # type: ignore[attr-defined]
# Within the UPDATE that lets a shard go: a pause costs nobody a query.
_MAY_GO = (
    exists().where(
        _batches.c.id == _shards.c.batch_id,
        _batches.c.paused_at.is_(None),
        _batches.c.halt_code == "",
        # What cancels it may not have come to this attempt yet.
        _batches.c.stop == Stop.NONE,
    ),
    ~exists().where(_pauses.c.provider == _shards.c.provider),
)


class _Move(NamedTuple):
    """What makes one conditional UPDATE differ from another, apart from the values in it."""

    states: tuple[ShardState, ...]
    changes: tuple[str, ...]
    same_due: bool
    unsent: bool
    sent: bool
    awaited: bool
    let_go: bool
    uploaded: bool


# There are few.
@functools.lru_cache(maxsize=256)
def _statement(move: _Move) -> Update:
    """The UPDATE. Its parameters: `of_` what the row must have, `to_` what it gets, `moment`."""
    row = _shards.c
    conditions = [
        row.id == bindparam("of_id"),
        row.state.in_(move.states),
        row.token == bindparam("of_token"),
    ]
    if move.same_due:
        conditions.append(row.due_at == bindparam("of_due_at"))
    if move.unsent:
        conditions.append(row.dispatched_at.is_(None))
    if move.sent:
        conditions.append(row.dispatched_at.is_not(None))
    if move.awaited:
        conditions.append(row.given_up_at.is_(None))
    if move.let_go:
        conditions += _MAY_GO
    values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in move.changes}
    if move.uploaded:
        moment = bindparam("moment", type_=row.uploaded_at.type)
        # Used again, it is as old as it was.
        values["uploaded_at"] = case(
            (
                row.remote_file_id == bindparam("to_remote_file_id"),
                func.coalesce(row.uploaded_at, moment),
            ),
            else_=moment,
        )
    return made_once(update(_shards).where(*conditions).values(**values))


class Held:
    """Nothing may be sent of a shard now: its batch or provider is paused, or its batch halted or
    stopped."""


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
        async with self._database.write(point) as session:
            batch = await self._database.lock_batch_of(session, shard.id)
            if batch is None or not await self._move(session, shard, states, **changes):
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
        uploaded_id: str = "",
        held: Shard | None = None,
        **changes: Any,
    ) -> bool:
        """The conditional UPDATE: only in these states and for this attempt's token.

        `same_due`: only if nobody has moved the time when it is due; `unsent`: only if the
        attempt's create has not been dispatched; `sent`: only if it has; `awaited`:
        only if its batch still waits for it; `let_go`: only if neither its batch nor its provider
        is paused, and its batch is neither halted nor stopped. `uploaded_id`: the provider's, of
        what was uploaded for it. `held`: what the session holds of the shard, to be brought up to
        date.
        """
        if uploaded_id:
            changes["remote_file_id"] = uploaded_id
        statement = _statement(
            _Move(
                tuple(states),
                tuple(changes),
                same_due,
                unsent,
                sent,
                awaited,
                let_go,
                bool(uploaded_id),
            )
        )
        parameters = {f"to_{name}": value for name, value in changes.items()}
        parameters |= {"of_id": shard.id, "of_token": shard.token}
        if same_due:
            parameters["of_due_at"] = shard.due_at
        if uploaded_id:
            parameters["moment"] = now()
        moved = await session.exec(statement, params=parameters)
        if held is not None and moved.rowcount:
            written(held, changes)
        return bool(moved.rowcount)

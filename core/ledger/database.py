"""The connection to the database: transactions, and the migrations at start."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint, writing
from core.ledger.engine import (
    APPLICATION,
    SQLITE_BUSY_SECONDS,
    check_database_url,
    make_engine,
)
from core.ledger.errors import LedgerUnavailable, UnknownSchema, damaged, translated
from core.ledger.schema import is_newest, upgrade
from core.ledger.tables import Batch, File, Shard, now

_BEGIN = sa.text("BEGIN IMMEDIATE")
_CHECK = sa.text("SELECT 1")
# On while a server is a standby, too.
_READ_ONLY = sa.text("SELECT current_setting('transaction_read_only')")
_CLOCK = sa.text("SELECT clock_timestamp()")
# The driver lets the server wait amid a statement, whose limits do not hold then: those of idle
# transactions are for what is between two statements, and what waits for its client goes on.
_END_HUNG = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user"
    f" AND application_name = '{APPLICATION}' AND state = 'active' AND wait_event = 'ClientRead'"
    " AND state_change < clock_timestamp() - CAST(:silent AS interval)"
)
_LONGEST_SILENCE = timedelta(seconds=60)
_NOT_ALLOWED = "42501"
_BATCH_OF = select(Batch).where(
    Batch.id == select(Shard.batch_id).where(Shard.id == sa.bindparam("shard_id")).scalar_subquery()
)
_LOCKED_BATCH_OF = _BATCH_OF.with_for_update()


class Database:
    """One engine. Write transactions take SQLite's write lock at once, so that a
    transaction never fails half-way for a lock that another process holds. On PostgreSQL
    each takes the locks that it needs, always in this order, so that none waits for
    another one in a circle: a name (lock_name), a file, a batch, a name within the batch's
    transition (a provider's runs, a quota), shards, a learned duration.

    Every method raises LedgerUnavailable when the database does not do it.
    """

    def __init__(self, url: str, engine: AsyncEngine) -> None:
        self._url = url
        self._engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock()

    @classmethod
    def connect(cls, url: str, *, pool_size: int) -> Database:
        """Make the engine for a URL; nothing is opened yet. Raises BadDatabaseUrl."""
        return cls(url, make_engine(url, pool_size=pool_size))

    async def migrate(self) -> None:
        """Bring the schema to the newest revision; safe to run from many processes.

        Raises UnknownSchema.
        """
        with translated(), writing(Failpoint.MIGRATE):
            try:
                if not await is_newest(self._url):
                    await asyncio.to_thread(upgrade, self._url)
            except DBAPIError as error:
                if not damaged(error):
                    raise
                raise UnknownSchema(
                    f"{check_database_url(self._url)} is damaged, or no ledger: {error.orig}. "
                    "Restore the back-up in a new folder (docs/operations.md)"
                ) from error

    @asynccontextmanager
    async def write(self, point: Failpoint) -> AsyncIterator[AsyncSession]:
        """A transaction that commits at the end of the block, or leaves no trace."""
        with translated():
            async with self._turn(), self._session() as session:
                if self.is_sqlite:
                    await session.exec(_BEGIN)  # type: ignore[call-overload]
                yield session
                with writing(point):
                    await session.commit()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading."""
        with translated():
            async with self._session() as session:
                yield session
            if self.is_sqlite:
                # Nothing of it has waited: who reads page after page must let others have a turn.
                await asyncio.sleep(0)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """SQLite has one writer at a time: those of this process wait here, where they are told."""
        if not self.is_sqlite:
            yield
            return
        try:
            async with asyncio.timeout(SQLITE_BUSY_SECONDS):
                await self._writer.acquire()
        except TimeoutError:
            text = f"no turn to write came in {SQLITE_BUSY_SECONDS} s: others hold the database"
            raise LedgerUnavailable(text) from None
        try:
            yield
        finally:
            self._writer.release()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncSession]:
        session = AsyncSession(self._engine, expire_on_commit=False)
        try:
            yield session
        finally:
            if self.is_sqlite:
                # Nothing to wait for, or what nobody can stop.
                await session.close()
            else:
                await asyncio.shield(asyncio.create_task(session.close()))

    async def lock_name(self, session: AsyncSession, *parts: str) -> None:
        """Of the transactions that name the same, let one run at a time.

        For what no row stands for yet, or what spans many rows. SQLite's writers run one
        at a time anyway.
        """
        if self.is_sqlite:
            return
        digest = hashlib.sha256("\0".join(parts).encode()).digest()
        number = int.from_bytes(digest[:8], signed=True)
        await session.exec(sa.select(sa.func.pg_advisory_xact_lock(number)))  # type: ignore[call-overload]

    async def lock_file(self, session: AsyncSession, file_id: str) -> File | None:
        """Read a file under its row lock: it stays, or is gone, until the end."""
        return await session.get(
            File, file_id, with_for_update=not self.is_sqlite, populate_existing=True
        )

    async def lock_account(self, session: AsyncSession, account_id: str) -> None:
        """Let nobody else do what counts towards the account's limits, until the commit."""
        await self.lock_name(session, "account", account_id)

    async def lock_batch(self, session: AsyncSession, batch_id: str) -> Batch | None:
        """Read a batch under its row lock, which orders the revisions of one batch."""
        return await session.get(Batch, batch_id, with_for_update=not self.is_sqlite)

    async def lock_batch_of(self, session: AsyncSession, shard_id: str) -> Batch | None:
        """The same for the batch of a shard."""
        query = _BATCH_OF if self.is_sqlite else _LOCKED_BATCH_OF
        return (await session.exec(query, params={"shard_id": shard_id})).first()

    async def check(self) -> None:
        """Raise when the database does not answer, or takes no writes."""
        async with self.read() as session:
            answer = await session.exec(_CHECK if self.is_sqlite else _READ_ONLY)  # type: ignore[call-overload]
            if answer.scalar_one() == "on":
                # The next connection may lead to the server that took over.
                await session.invalidate()
                raise LedgerUnavailable("the database takes no writes: it may be a standby")

    async def end_hung(self, silent: timedelta = _LONGEST_SILENCE) -> int:
        """End what processes of ours hold that stand still, or whose machine is gone, amid a
        statement; returns how many connections. PostgreSQL itself ends those between two."""
        if self.is_sqlite:
            return 0
        try:
            async with self.read() as session:
                ended = await session.exec(_END_HUNG, params={"silent": silent})  # type: ignore[call-overload]
                return len(ended.all())
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _NOT_ALLOWED:
                raise
            # Some administrators let nobody end a connection: all else goes on without.
            return 0

    async def clock_ahead(self, session: AsyncSession) -> timedelta:
        """How far the clock of this process is ahead of the one that all replicas share."""
        if self.is_sqlite:
            return timedelta()
        asked_at = now()
        shared: datetime = (await session.exec(_CLOCK)).scalar_one()  # type: ignore[call-overload]
        return asked_at + (now() - asked_at) / 2 - shared

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

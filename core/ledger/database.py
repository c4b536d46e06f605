"""The connection to the database: transactions, and the migrations at start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint, writing
from core.ledger.tables import Batch, Shard

_BUSY_SECONDS = 30
_UPGRADING = threading.Lock()


class Database:
    """One engine. Write transactions take SQLite's write lock at once, so that a
    transaction never fails half-way for a lock that another process holds."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"

    @classmethod
    def connect(cls, url: str) -> Database:
        """Make the engine for a SQLAlchemy URL; nothing is opened yet."""
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if parsed.database:
                folder = Path(parsed.database).parent
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            engine = create_async_engine(url, connect_args={"timeout": _BUSY_SECONDS})
            sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        else:
            engine = create_async_engine(url, pool_pre_ping=True)
        return cls(engine)

    async def migrate(self) -> None:
        """Bring the schema to the newest revision; safe to run from many processes."""
        url = self._engine.url.render_as_string(hide_password=False)
        with writing(Failpoint.MIGRATE):
            await asyncio.to_thread(upgrade, url)

    @asynccontextmanager
    async def write(self, point: Failpoint) -> AsyncIterator[AsyncSession]:
        """A transaction that commits at the end of the block, or leaves no trace."""
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            if self.is_sqlite:
                await session.exec(sa.text("BEGIN IMMEDIATE"))  # type: ignore[call-overload]
            yield session
            with writing(point):
                await session.commit()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading."""
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            yield session

    async def lock_batch(self, session: AsyncSession, batch_id: str) -> Batch | None:
        """Read a batch under its row lock, which orders the revisions of one batch."""
        return await session.get(Batch, batch_id, with_for_update=not self.is_sqlite)

    async def lock_batch_of(self, session: AsyncSession, shard_id: str) -> Batch | None:
        """The same for the batch of a shard."""
        batch_id = select(Shard.batch_id).where(Shard.id == shard_id).scalar_subquery()
        query = select(Batch).where(Batch.id == batch_id)
        if not self.is_sqlite:
            query = query.with_for_update()
        return (await session.exec(query)).first()

    async def check(self) -> None:
        """Raise when the database does not answer."""
        async with self.read() as session:
            await session.exec(sa.text("SELECT 1"))  # type: ignore[call-overload]

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN comes late and takes a read lock first; with it off,
    # the BEGIN IMMEDIATE above is the only one.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def alembic_config(url: str) -> Config:
    """The migrations' configuration for a database URL."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Bring a database to the newest schema (blocking)."""
    # Alembic keeps its context in module globals: one thread of a process at a time.
    with _UPGRADING:
        command.upgrade(alembic_config(url), "head")

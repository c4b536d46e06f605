"""Alembic's entry point: one transaction under a lock, whoever else migrates as well."""

import asyncio
import sqlite3
import time

import sqlalchemy as sa
from alembic import context
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

import core.ledger.tables  # noqa: F401  (fills SQLModel.metadata)
from core.ledger.engine import make_migration_engine

_ADVISORY_LOCK = 7_307_118_207
_WAL_TRIES = 600
_WAL_PAUSE = 0.1


def _run(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        _use_wal(connection)
        connection.execute(sa.text("BEGIN IMMEDIATE"))
    else:
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        transactional_ddl=True,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _use_wal(connection: sa.Connection) -> None:
    """Switch a new file to the write-ahead log, which stays: later connections find it so.

    SQLite gives up on this switch at once where somebody else has the file open, whatever
    the busy timeout (https://www.sqlite.org/wal.html, "Sometimes queries return SQLITE_BUSY").
    """
    for tries_left in reversed(range(_WAL_TRIES)):
        try:
            connection.execute(sa.text("PRAGMA journal_mode=WAL"))
        except OperationalError as error:
            code = getattr(error.orig, "sqlite_errorcode", None)
            if code != sqlite3.SQLITE_BUSY or not tries_left:
                raise
            # A thread of its own runs the migrations.
            time.sleep(_WAL_PAUSE)
        else:
            return


async def _main() -> None:
    engine = make_migration_engine(context.config.get_main_option("sqlalchemy.url") or "")
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_main())

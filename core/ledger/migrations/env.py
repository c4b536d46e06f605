"""Alembic's entry point: one transaction under a lock, whoever else migrates as well."""

import asyncio

import sqlalchemy as sa
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

import core.ledger.tables  # noqa: F401  (fills SQLModel.metadata)

_ADVISORY_LOCK = 7_307_118_207
_BUSY_SECONDS = 60


def _run(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
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


def _manual_begin(dbapi_connection, _record) -> None:  # type: ignore[no-untyped-def]
    # Without this the driver commits before DDL, and the lock would be lost.
    dbapi_connection.isolation_level = None


async def _main() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or ""
    engine = create_async_engine(url, poolclass=sa.pool.NullPool)
    if engine.dialect.name == "sqlite":
        engine = create_async_engine(
            url, poolclass=sa.pool.NullPool, connect_args={"timeout": _BUSY_SECONDS}
        )
        sa.event.listen(engine.sync_engine, "connect", _manual_begin)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_main())

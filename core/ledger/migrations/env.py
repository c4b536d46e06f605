"""Alembic's entry point: one transaction under a lock, whoever else migrates as well."""

import asyncio

import sqlalchemy as sa
from alembic import context
from sqlmodel import SQLModel

import core.ledger.tables  # noqa: F401  (fills SQLModel.metadata)
from core.ledger.engine import make_migration_engine
from core.ledger.schema import refuse_unknown
from core.ledger.tables.columns import name_conditions

_ADVISORY_LOCK = 7_307_118_207
_TIME_LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def _run(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(sa.text("BEGIN IMMEDIATE"))
    else:
        name_conditions(SQLModel.metadata)
        # The role or the database may have some, which are meant for what is short.
        for limit in _TIME_LIMITS:
            connection.execute(sa.text(f"SET LOCAL {limit} = 0"))
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    # Under the lock: a newer version may have been first.
    refuse_unknown(connection)
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        transactional_ddl=True,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _main() -> None:
    engine = make_migration_engine(context.config.get_main_option("sqlalchemy.url") or "")
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_main())

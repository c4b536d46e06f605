"""INSERT ... ON CONFLICT, which SQLAlchemy has once for each of the two databases."""

from __future__ import annotations

from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession


def dialect_of(session: AsyncSession) -> str:
    """`sqlite` or `postgresql`."""
    return session.get_bind().dialect.name


def upsert(dialect: str, table: Any) -> Any:
    """An INSERT into a table that can be told what to do about a row that is there.

    The other database's dialect is not imported: PostgreSQL's, with its driver, is six megabytes
    of what every service has in memory.
    """
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)

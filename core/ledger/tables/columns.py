"""Kinds of columns and indexes that the tables share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

_CONDITION = "postgresql_where"


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. Naive datetimes are refused; SQLite's lost zone is put back."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone reached the ledger")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(SQLModel):
    """A table's rows: never validated, so that no validator is made before somebody asks for it."""

    model_config = {"defer_build": True}


def now() -> datetime:
    """The current moment, with its time zone."""
    return datetime.now(UTC)


def moment(*, index: bool = False, nullable: bool = False) -> Any:
    return Field(default=None, sa_type=UtcDateTime, nullable=nullable, index=index)


def big(default: int = 0) -> Any:
    return Field(default=default, sa_type=sa.BigInteger, nullable=False)


def partial_index(name: str, *columns: str, where: str, postgresql: str = "") -> sa.Index:
    """An index of some rows alone; `postgresql`: how it says `where`, if not in the same words.

    Named here, PostgreSQL's condition would load its dialect where nobody uses it.
    """
    info = {_CONDITION: postgresql or where}
    return sa.Index(name, *columns, sqlite_where=sa.text(where), info=info)


def name_conditions(metadata: sa.MetaData) -> None:
    """Name PostgreSQL's conditions of partial indexes, for what makes migrations of them."""
    for table in metadata.tables.values():
        for index in table.indexes:
            if _CONDITION in index.info:
                index.dialect_options["postgresql"]["where"] = sa.text(index.info[_CONDITION])

"""Copy a ledger into another database, such as from SQLite to PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from core.ledger.engine import make_engine
from core.ledger.errors import translated
from core.ledger.ledger import Ledger

_PAGE = 1000


class TargetNotEmpty(Exception):
    """The database to copy into holds rows already: nothing was changed."""


async def copy_ledger(source: str, target: str) -> dict[str, int]:
    """Copy every row in one transaction; returns the number of rows by table.

    source, target: database URLs; both are brought to the newest schema first. No
    service may be running on either. Raises TargetNotEmpty, UnknownSchema, LedgerUnavailable.
    """
    for url in (source, target):
        await (await Ledger.open(url)).close()
    reading, writing = make_engine(source, pool_size=2), make_engine(target, pool_size=2)
    try:
        with translated():
            async with reading.connect() as old, writing.begin() as new:
                if writing.dialect.name == "sqlite":
                    # Its driver begins nothing by itself.
                    await new.exec_driver_sql("BEGIN IMMEDIATE")
                return {
                    table.name: await _copy_table(table, old, new)
                    for table in SQLModel.metadata.sorted_tables
                }
    finally:
        await reading.dispose()
        await writing.dispose()


async def _copy_table(table: sa.Table, old: AsyncConnection, new: AsyncConnection) -> int:
    if (await new.execute(sa.select(sa.func.count()).select_from(table))).scalar_one():
        raise TargetNotEmpty(f"the table {table.name} of the target holds rows already")
    count = 0
    async with old.stream(sa.select(table)) as rows:
        async for page in rows.mappings().partitions(_PAGE):
            await new.execute(sa.insert(table), [dict(row) for row in page])
            count += len(page)
    return count

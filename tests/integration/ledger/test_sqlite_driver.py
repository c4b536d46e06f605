"""SQLite's driver gives every row, and leaves no transaction behind."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from core.ledger import sqlite_driver


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1700])
async def test_every_row_comes_at_once_and_in_parts(count: int) -> None:
    connection = await sqlite_driver.connect(":memory:")
    rows = [(number,) for number in range(count)]
    await connection.cursor().execute("CREATE TABLE numbers (number)")
    await connection.cursor().executemany("INSERT INTO numbers VALUES (?)", rows)
    query = "SELECT number FROM numbers ORDER BY number"

    assert await (await connection.cursor().execute(query)).fetchall() == rows

    cursor, found = await connection.cursor().execute(query), []
    while part := await cursor.fetchmany(7):
        found += part
    assert found == rows
    await connection.close()


async def test_a_transaction_that_nobody_waited_for_is_rolled_back(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.sqlite3")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    connection = await sqlite_driver.connect(path, timeout=30, isolation_level=None)
    begun = asyncio.Event()

    async def begin() -> None:
        begun.set()
        await connection.cursor().execute("BEGIN IMMEDIATE")

    beginning = asyncio.create_task(begin())
    await begun.wait()
    beginning.cancel()
    await asyncio.wait([beginning])
    other.execute("COMMIT")

    await connection.rollback()
    await connection.cursor().execute("SELECT 1")

    assert not connection.in_transaction
    other.execute("BEGIN IMMEDIATE")
    other.close()
    await connection.close()

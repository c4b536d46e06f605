"""SQLite's driver gives every row, never stops the event loop, and leaves no transaction behind."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.ledger import sqlite_driver

COUNT = """
    WITH RECURSIVE numbers(number) AS (
        SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?
    )
    SELECT thread(), count(*) FROM numbers
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite3")


@pytest.fixture
async def connection(path: str) -> AsyncIterator[sqlite_driver.Connection]:
    opened = await sqlite_driver.connect(path, timeout=30)
    await opened.create_function("thread", 0, threading.get_ident)
    yield opened
    await opened.close()


@pytest.fixture
def other(path: str) -> Iterator[sqlite3.Connection]:
    """Another process, as SQLite sees it."""
    opened = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1700])
async def test_every_row_comes_at_once_and_in_parts(
    connection: sqlite_driver.Connection, count: int
) -> None:
    rows = [(number,) for number in range(count)]
    await connection.cursor().execute("CREATE TABLE numbers (number)")
    await connection.cursor().executemany("INSERT INTO numbers VALUES (?)", rows)
    query = "SELECT number FROM numbers ORDER BY number"

    assert await (await connection.cursor().execute(query)).fetchall() == rows

    cursor, found = await connection.cursor().execute(query), []
    while part := await cursor.fetchmany(7):
        found += part
    assert found == rows


async def test_what_took_long_runs_in_a_thread_until_it_is_quick_for_some_time(
    connection: sqlite_driver.Connection,
) -> None:
    ran = []
    for count in (10, 1_000_000, 10, 1_000_000, 10, 10, 10, 10, 10):
        [(thread, counted)] = await (await connection.cursor().execute(COUNT, (count,))).fetchall()
        assert counted == count
        ran.append("loop" if thread == threading.get_ident() else "thread")

    assert ran == ["loop", "loop", *["thread"] * 6, "loop"]


async def test_one_that_waits_for_another_process_stops_nobody(
    connection: sqlite_driver.Connection, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(connection.cursor().execute("BEGIN IMMEDIATE"))
    # Only a loop that goes on comes to this end.
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()

    other.execute("COMMIT")
    await waiting

    assert connection.in_transaction
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")


async def test_its_patience_has_an_end(path: str, other: sqlite3.Connection) -> None:
    connection = await sqlite_driver.connect(path, timeout=0.01)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        await connection.cursor().execute("BEGIN IMMEDIATE")

    await connection.close()


async def test_a_transaction_that_nobody_waits_for_any_more_is_not_begun(
    connection: sqlite_driver.Connection, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    beginning = asyncio.create_task(connection.cursor().execute("BEGIN IMMEDIATE"))
    await asyncio.wait([beginning], timeout=0.01)
    beginning.cancel()
    await asyncio.wait([beginning])
    other.execute("COMMIT")

    await connection.rollback()
    await connection.cursor().execute("SELECT 1")

    assert not connection.in_transaction
    other.execute("BEGIN IMMEDIATE")


async def write_that_was_stopped(connection: sqlite_driver.Connection) -> threading.Event:
    """A transaction with rows unread, in which a thread inserts for a task that was stopped.

    It goes on once the event is set.
    """
    begun, go_on = threading.Event(), threading.Event()

    def held() -> int:
        begun.set()
        go_on.wait()
        return 1

    await connection.create_function("held", 0, held)
    await connection.cursor().execute("CREATE TABLE numbers (number)")
    await connection.cursor().execute("BEGIN IMMEDIATE")
    rows = [(number,) for number in range(1000)]
    await connection.cursor().executemany("INSERT INTO numbers VALUES (?)", rows)
    await connection.cursor().execute("SELECT number FROM numbers")
    writing = asyncio.create_task(
        connection.cursor().executemany("INSERT INTO numbers SELECT ? + held()", rows)
    )
    await asyncio.to_thread(begun.wait)
    writing.cancel()
    await asyncio.wait([writing])
    return go_on


async def test_what_a_thread_does_for_one_that_was_stopped_is_waited_for(
    connection: sqlite_driver.Connection, other: sqlite3.Connection
) -> None:
    go_on = await write_that_was_stopped(connection)

    ending = asyncio.create_task(connection.rollback())
    await asyncio.sleep(0)
    assert not ending.done()
    go_on.set()
    await ending

    assert not connection.in_transaction
    other.execute("BEGIN IMMEDIATE")
    assert other.execute("SELECT count(*) FROM numbers").fetchone() == (0,)


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_lock_goes_with_its_connection(
    connection: sqlite_driver.Connection, other: sqlite3.Connection, waiting: bool
) -> None:
    """However it is let go: with rows unread, and while a thread still works for it."""
    go_on = await write_that_was_stopped(connection)

    if waiting:
        closing = asyncio.create_task(connection.close())
        await asyncio.sleep(0)
        go_on.set()
        await closing
    else:
        connection.stop()
        go_on.set()

    # Another process that waits as SQLite does.
    other.execute("PRAGMA busy_timeout = 30000")
    await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
    assert other.execute("SELECT count(*) FROM numbers").fetchone() == (0,)


async def test_what_cannot_be_committed_is_rolled_back(
    connection: sqlite_driver.Connection, other: sqlite3.Connection
) -> None:
    await connection.cursor().execute("PRAGMA foreign_keys = ON")
    await connection.cursor().execute("CREATE TABLE one (id INTEGER PRIMARY KEY)")
    await connection.cursor().execute(
        "CREATE TABLE two (one REFERENCES one DEFERRABLE INITIALLY DEFERRED)"
    )
    await connection.cursor().execute("BEGIN IMMEDIATE")
    await connection.cursor().execute("INSERT INTO two VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError):
        await connection.commit()

    assert not connection.in_transaction
    other.execute("BEGIN IMMEDIATE")


async def test_a_connection_that_is_closed_says_so(path: str) -> None:
    connection = await sqlite_driver.connect(path)
    await connection.close()
    await connection.close()

    with pytest.raises(ValueError, match="no active connection"):
        await connection.cursor().execute("SELECT 1")


@pytest.mark.parametrize("awaited", [True, False])
async def test_the_last_one_leaves_all_in_the_file_alone(path: str, awaited: bool) -> None:
    """What is stopped is backed up by copying its file, and nothing beside it."""

    def left() -> set[str]:
        return {each.name for each in Path(path).parent.iterdir()}

    connection = await sqlite_driver.connect(path)
    await connection.cursor().execute("PRAGMA journal_mode=WAL")
    await connection.cursor().execute("CREATE TABLE numbers (number)")
    await connection.commit()
    assert left() == {"ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm"}
    if awaited:
        await connection.close()
    else:
        connection.stop()
    assert left() == {"ledger.sqlite3"}

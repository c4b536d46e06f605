"""The driver of SQLite, below SQLAlchemy's dialect for aiosqlite.

A statement runs where it is asked for, on the event loop: most take some ten microseconds, and a
visit to a thread takes ten times that. What waits for a disk goes to a thread: a commit, and every
statement that took long the last time. What waits for another process is tried again: SQLite's own
waiting would stop the loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")

CONNECTIONS = 16
"""As many as may be open: each has a thread when it needs one."""
_FIRST_ROWS = 500
_LONG_SECONDS = 0.002
_LONG_KNOWN = 1_000
_MANY = 100
# Nobody is told when another process has let its lock go: SQLite sleeps and looks, too.
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.02

_took_long: set[str] = set()
_threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="sqlite")


def connect(database: str, *, timeout: float = 30.0, **options: Any) -> Connection:
    """A connection to be awaited. `timeout`: for how long it waits for other processes, in
    seconds; `options`: further ones of sqlite3.connect.
    """
    options |= {"timeout": 0, "check_same_thread": False}
    # sqlite3's own BEGIN comes late and takes a read lock first, and it commits before DDL; with it
    # off, the ledger's BEGIN IMMEDIATE is the only one.
    options["isolation_level"] = None
    return Connection(partial(sqlite3.connect, database, **options), timeout)


class Connection:
    """One connection, for one task at a time."""

    def __init__(self, opened: Callable[[], sqlite3.Connection], timeout: float) -> None:
        self._open_it = opened
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._in_thread: asyncio.Future[Any] | None = None
        """What a thread does for it; the task that asked for it may be gone."""

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def _open(self) -> Connection:
        self._connection = await self.apart(self._open_it)
        return self

    @property
    def opened(self) -> sqlite3.Connection:
        """SQLite's own connection. Raises ValueError once it is closed."""
        if self._connection is None:
            # Words that SQLAlchemy's dialect knows.
            raise ValueError("no active connection")
        return self._connection

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.opened.in_transaction

    def cursor(self) -> Cursor:
        """A cursor that is not yet made."""
        return Cursor(self)

    async def create_function(self, *arguments: Any, **options: Any) -> None:
        """As sqlite3's."""
        self.opened.create_function(*arguments, **options)

    async def commit(self) -> None:
        """Commit, if there is anything."""
        await self.settled()
        if self.opened.in_transaction:
            await self._tried(partial(self.apart, self.opened.commit))

    async def rollback(self) -> None:
        """Roll back, if there is anything."""
        await self.settled()
        if self.opened.in_transaction:
            self.opened.rollback()

    async def close(self) -> None:
        """Close it; the last one of a database moves what was written to its place."""
        await self.settled()
        connection, self._connection = self._connection, None
        if connection is not None:
            await self.apart(connection.close)

    def stop(self) -> None:
        """Let it go at once; SQLAlchemy asks so where nobody can wait."""
        self._connection = None

    async def settled(self) -> None:
        """Wait for what a thread still does for a task that was stopped."""
        if self._in_thread is not None:
            await asyncio.wait([self._in_thread])
            self._in_thread = None

    async def run(
        self, statement: str, function: Callable[[], Result], *, long: bool = False
    ) -> Result:
        """Run a statement by a function, here or in a thread."""
        await self.settled()
        return await self._tried(partial(self._timed, statement, function, long=long))

    async def _timed(self, statement: str, function: Callable[[], Result], *, long: bool) -> Result:
        def timed() -> tuple[Result, float]:
            # Without what the thread spends on waiting for others.
            begun = time.thread_time()
            return function(), time.thread_time() - begun

        long = long or statement in _took_long
        result, seconds = await self.apart(timed) if long else timed()
        if seconds < _LONG_SECONDS:
            _took_long.discard(statement)
        elif len(_took_long) < _LONG_KNOWN:
            _took_long.add(statement)
        return result

    async def apart(self, function: Callable[[], Result]) -> Result:
        """Call it in a thread."""
        await self.settled()
        self._in_thread = asyncio.get_running_loop().run_in_executor(_threads, function)
        result: Result = await asyncio.shield(self._in_thread)
        self._in_thread = None
        return result

    async def _tried(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Again and again while another connection holds the lock."""
        pause, until = _FIRST_PAUSE, time.monotonic() + self._timeout
        while True:
            try:
                return await function()
            except sqlite3.OperationalError as error:
                # The lowest byte is the kind, the others say more on it.
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > until:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


class Cursor:
    """One statement: its first rows come with it, and for most statements these are all."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1
        self._rows: list[Any] = []
        self._more: sqlite3.Cursor | None = None

    async def __aenter__(self) -> Cursor:
        return self

    async def execute(self, statement: str, parameters: Iterable[Any] = ()) -> Cursor:
        """Run a statement."""
        run = partial(self._run, False, statement, parameters)
        await self._connection.run(statement, run)
        return self

    async def executemany(self, statement: str, parameters: Sequence[Iterable[Any]]) -> Cursor:
        """Run a statement for each of the parameters."""
        run = partial(self._run, True, statement, parameters)
        await self._connection.run(statement, run, long=len(parameters) > _MANY)
        return self

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows, self._rows = self._rows, []
        if self._more is not None:
            rows += await self._connection.apart(self._more.fetchall)
            await self.close()
        return rows

    async def fetchmany(self, size: int) -> list[Any]:
        """So many rows; fewer are the last ones."""
        while self._more is not None and len(self._rows) < size:
            found = await self._connection.apart(partial(self._more.fetchmany, _FIRST_ROWS))
            self._rows += found
            if len(found) < _FIRST_ROWS:
                await self.close()
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def close(self) -> None:
        """End a statement that has more rows."""
        await self._connection.settled()
        more, self._more = self._more, None
        if more is not None:
            more.close()

    def _run(self, many: bool, statement: str, parameters: Iterable[Any]) -> None:
        cursor = self._connection.opened.cursor()
        (cursor.executemany if many else cursor.execute)(statement, parameters)  # type: ignore[arg-type]
        self.description = cursor.description
        self.rowcount = cursor.rowcount
        self.lastrowid = cursor.lastrowid
        if self.description is not None:
            self._rows = cursor.fetchmany(_FIRST_ROWS)
            if len(self._rows) == _FIRST_ROWS:
                self._more = cursor
                return
        cursor.close()

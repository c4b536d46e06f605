"""The driver of SQLite, below SQLAlchemy's dialect for aiosqlite.

A statement runs where it is asked for, on the event loop: most take some ten microseconds, and a
visit to a thread takes ten times that. What waits for a disk goes to a thread: a commit, and every
statement that took long lately. What waits for another process is tried again: SQLite's own
waiting would stop the loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")

CONNECTIONS = 16
"""As many as may be open: each has a thread when it needs one."""
_FIRST_ROWS = 500
_MANY = 100
_LONG_SECONDS = 0.002
_QUICK_RUNS = 4
_LONG_KNOWN = 1_000
# Nobody is told when another process has let its lock go: SQLite sleeps and looks, too.
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.02

_threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="sqlite")
_long: OrderedDict[str, int] = OrderedDict()
"""Statements that go to a thread, and how often each has to be quick to come back."""


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

    def __init__(self, opening: Callable[[], sqlite3.Connection], timeout: float) -> None:
        self._opening = opening
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._in_thread: Future[Any] | None = None
        """What a thread does for it, or has done; the task that asked for it may be gone."""
        self.unread: set[sqlite3.Cursor] = set()
        """Those that have more rows: each keeps what it reads as it was, and SQLite open."""

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def _open(self) -> Connection:
        self._connection = await self.apart(self._opening)
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
        """Commit, if there is anything; what cannot be committed is rolled back."""
        await self.settled()
        if self.opened.in_transaction:
            try:
                await self.apart(self.opened.commit)
            except sqlite3.Error:
                await self.rollback()
                raise

    async def rollback(self) -> None:
        """Roll back, if there is anything."""
        await self.settled()
        _drop(self.unread)
        if self.opened.in_transaction:
            self.opened.rollback()

    async def close(self) -> None:
        """Close it; the last one of a database moves what was written to its place."""
        if self._connection is not None:
            self._connection.interrupt()
        await self.settled()
        connection, self._connection = self._connection, None
        if connection is not None:
            await self.apart(partial(_close, connection, self.unread))

    def stop(self) -> None:
        """Close it as soon as no thread uses it; SQLAlchemy asks so where nobody can wait."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.interrupt()
        if self._in_thread is None:
            _close(connection, self.unread)
        else:
            # In that thread, or here when it is done.
            self._in_thread.add_done_callback(lambda _done: _close(connection, self.unread))

    async def settled(self) -> None:
        """Wait for what a thread still does for a task that was stopped."""
        while self._in_thread is not None and not self._in_thread.done():
            await _end_of(self._in_thread)

    async def run(self, statement: str, function: Callable[[], Result]) -> Result:
        """Run a statement by a function, again and again while another process holds the lock."""
        await self.settled()
        pause, until = _FIRST_PAUSE, time.monotonic() + self._timeout
        while True:
            try:
                return await self._timed(statement, function)
            except sqlite3.OperationalError as error:
                # The lowest byte is the kind, the others say more on it.
                kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
                # Within a transaction it would wait for itself.
                if kind != sqlite3.SQLITE_BUSY or self.in_transaction or time.monotonic() > until:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _timed(self, statement: str, function: Callable[[], Result]) -> Result:
        def timed() -> tuple[Result, float]:
            # Without what the thread spends on waiting for others.
            begun = time.thread_time()
            return function(), time.thread_time() - begun

        result, seconds = await self.apart(timed) if statement in _long else timed()
        if seconds >= _LONG_SECONDS:
            _long[statement] = _QUICK_RUNS
            _long.move_to_end(statement)
            if len(_long) > _LONG_KNOWN:
                _long.popitem(last=False)
        elif statement in _long:
            _long[statement] -= 1
            if not _long[statement]:
                del _long[statement]
        return result

    async def apart(self, function: Callable[[], Result]) -> Result:
        """Call it in a thread."""
        await self.settled()
        self._in_thread = called = _threads.submit(function)
        await _end_of(called)
        return called.result()


async def _end_of(called: Future[Any]) -> None:
    """Wait for a call, which goes on if the one that waits is stopped."""
    waiter = asyncio.wrap_future(called)
    # Nobody may be left to be told of an error.
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait([waiter])


def _drop(unread: set[sqlite3.Cursor]) -> None:
    while unread:
        unread.pop().close()


def _close(connection: sqlite3.Connection, unread: set[sqlite3.Cursor]) -> None:
    # With one left, SQLite would keep it open, and its lock.
    _drop(unread)
    # An interruption lasts until the next statement begins, and SQLite would close without moving
    # what was written from its log to the file, which alone is what people copy.
    try:
        connection.execute("SELECT 1").close()
    finally:
        connection.close()


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
        await self._connection.run(statement, partial(self._run, False, statement, parameters))
        return self

    async def executemany(self, statement: str, parameters: Sequence[Iterable[Any]]) -> Cursor:
        """Run a statement for each of the parameters, within a transaction."""
        run = partial(self._run, True, statement, parameters)
        if len(parameters) > _MANY:
            await self._connection.apart(run)
        else:
            await self._connection.settled()
            run()
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
            self._connection.unread.discard(more)
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
                self._connection.unread.add(cursor)
                return
        cursor.close()

"""The driver of SQLite: aiosqlite, with one visit to the connection's thread for a statement.

aiosqlite goes there and back for the cursor, the statement, its rows and the cursor's end, each of
which costs more than SQLite needs for what the ledger asks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import aiosqlite

_FIRST_ROWS = 500


def connect(database: str, **options: Any) -> Connection:
    """A connection to be awaited, as aiosqlite.connect; `options`: those of sqlite3.connect."""
    connection = Connection(partial(sqlite3.connect, database, **options), iter_chunk_size=64)
    # A process that ends without closing it does not wait for it.
    connection._thread.daemon = True
    return connection


class Connection(aiosqlite.Connection):
    """One connection, and the thread that works for it."""

    _settled = False
    """Whether the latest call has come to its end, and nobody stopped waiting for it."""

    def cursor(self) -> Cursor:  # type: ignore[override]
        """A cursor that is not yet made."""
        return Cursor(self)

    async def rollback(self) -> None:
        """Roll back, if there is anything."""
        if not self._settled or self.in_transaction:
            await super().rollback()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._settled = False
        result = await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        self._settled = True
        return result


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
        await self._connection._execute(self._run, False, statement, parameters)
        return self

    async def executemany(self, statement: str, parameters: Iterable[Iterable[Any]]) -> Cursor:
        """Run a statement for each of the parameters."""
        await self._connection._execute(self._run, True, statement, parameters)
        return self

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows, self._rows = self._rows, []
        if self._more is not None:
            rows += await self._connection._execute(self._more.fetchall)
            await self.close()
        return rows

    async def fetchmany(self, size: int) -> list[Any]:
        """So many rows; fewer are the last ones."""
        while self._more is not None and len(self._rows) < size:
            found = await self._connection._execute(self._more.fetchmany, _FIRST_ROWS)
            self._rows += found
            if len(found) < _FIRST_ROWS:
                await self.close()
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def close(self) -> None:
        """End a statement that has more rows."""
        more, self._more = self._more, None
        if more is not None:
            await self._connection._execute(more.close)

    def _run(self, many: bool, statement: str, parameters: Iterable[Any]) -> None:
        """In the connection's thread."""
        cursor = self._connection._conn.cursor()
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

"""What can go wrong with the database, apart from mistakes of this program.

BadDatabaseUrl       the URL names no database that the ledger can use
UnknownSchema        another version of polybatch has made the database's schema, or its file
                     cannot be read
LedgerUnavailable    the database did not do it, or its answer was lost
└── LedgerFull       its disk is full
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# Classes of PostgreSQL's SQLSTATE that say nothing against the statement itself: lost
# connection, refused login, unknown database, transaction ended by the server, deadlock,
# out of resources, lock not granted in time, shutdown, I/O error.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_DISK_FULL = "53100"
READ_ONLY = "25006"
"""The server, or the connection, takes no writes."""
_TRANSIENT = ("08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX")


class BadDatabaseUrl(ValueError):
    """The database's URL cannot be used. The message never holds the URL's password."""


class UnknownSchema(Exception):
    """There is no way from the database's schema to the one of this version, or it cannot be
    read. Nothing was changed. The message says what to do.
    """


class LedgerUnavailable(Exception):
    """The database did not do it; the same call may succeed later.

    Where the answer to a commit was lost, it may have done it all the same: every
    transition says Stale then when it is repeated, and what is made has a key of its own.
    The message says why, without the statement and its values.
    """


class LedgerFull(LedgerUnavailable):
    """The disk or quota of the database is full."""


def damaged(error: DBAPIError) -> bool:
    """Whether it is a file that SQLite cannot read: no database, or no longer one."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    # What is beyond the first byte says only more of it.
    return code is not None and code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the outages among the errors of the block's SQL into LedgerUnavailable."""
    try:
        yield
    except DBAPIError as error:
        if not _is_transient(error):
            raise
        raise (LedgerFull if _full(error) else LedgerUnavailable)(
            _reason(error.orig or error)
        ) from error
    # Raw ones: the driver is asked to connect outside of SQLAlchemy's own translation.
    except _raw() as error:
        raise LedgerUnavailable(_reason(error)) from error


def _raw() -> tuple[type[Exception], ...]:
    """PostgreSQL's driver has some too; it is imported where there is such a database."""
    asyncpg = sys.modules.get("asyncpg")
    own = () if asyncpg is None else (asyncpg.PostgresError, asyncpg.InterfaceError)
    return (OSError, PoolTimeout, *own)


def _is_transient(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_TRANSIENT)
    return isinstance(error, OperationalError)


def _full(error: DBAPIError) -> bool:
    cause = error.orig.__cause__ if error.orig is not None else None
    found = (error.orig, cause)
    return any(
        getattr(each, "sqlstate", None) == _DISK_FULL
        or getattr(each, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        for each in found
    )


def _reason(error: BaseException) -> str:
    while isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    # The driver's own error, below SQLAlchemy's copy of it.
    error = error.__cause__ or error
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__

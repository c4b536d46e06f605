"""Engines: how the ledger connects to SQLite and to PostgreSQL."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from core.ledger import sqlite_driver
from core.ledger.errors import READ_ONLY, BadDatabaseUrl
from core.ledger.postgres_connecting import connector

SQLITE_BUSY_SECONDS = 30
"""For how long who wants to write waits for others, in this process and in others each."""
APPLICATION = "polybatch"
"""What PostgreSQL shows our connections as, those of migrations apart."""
_SQLITE_MIGRATION_SECONDS = 60
# A little longer than the server's own limit, for a server that answers no more.
_ANSWER_TIMEOUT = 40.0
_POOL_TIMEOUT = 30.0
_SERVER_SETTINGS = {
    # What the transitions are written for, whatever the database's default is.
    "default_transaction_isolation": "read committed",
    "statement_timeout": "30s",
    "lock_timeout": "15s",
    # A process that hangs must not hold a batch's row for ever.
    "idle_in_transaction_session_timeout": "60s",
}
_EXPECTED = "expected postgresql://user:password@host:5432/database or sqlite:////absolute/path"


_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def check_database_url(url: str) -> Path | None:
    """The file of an SQLite database, None for PostgreSQL; neither is opened.

    Raises BadDatabaseUrl.
    """
    if _kind(url) == "sqlite":
        return Path(_sqlite_url(url).database or "")
    _dsn(url)
    return None


def make_engine(url: str, *, pool_size: int) -> AsyncEngine:
    """An engine for the ledger's own use; nothing is opened yet. Raises BadDatabaseUrl."""
    if _kind(url) == "sqlite":
        engine = _sqlite_engine(
            url,
            busy_seconds=SQLITE_BUSY_SECONDS,
            # All are kept: to open one takes longer than most of what is asked.
            pool_size=sqlite_driver.CONNECTIONS,
            max_overflow=0,
            poolclass=AsyncAdaptedQueuePool,
        )
        sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    engine = create_async_engine(
        "postgresql+asyncpg://",
        # The values of statements are users' own; errors quote them otherwise.
        hide_parameters=True,
        async_creator=connector(
            _dsn(url),
            command_timeout=_ANSWER_TIMEOUT,
            server_settings={"application_name": APPLICATION, **_SERVER_SETTINGS},
        ),
        # No more than these: all replicas share the server's max_connections.
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT,
        pool_pre_ping=True,
    )
    sa.event.listen(engine.sync_engine, "before_cursor_execute", _replace_nul, retval=True)
    sa.event.listen(engine.sync_engine, "handle_error", _leave_read_only_server)
    return engine


def make_migration_engine(url: str) -> AsyncEngine:
    """An engine for the migrations, which may take long and wait long for each other."""
    if _kind(url) == "sqlite":
        engine = _sqlite_engine(url, busy_seconds=_SQLITE_MIGRATION_SECONDS, poolclass=NullPool)
        sa.event.listen(engine.sync_engine, "connect", _switch_to_wal)
        return engine
    return create_async_engine(
        "postgresql+asyncpg://",
        hide_parameters=True,
        async_creator=connector(
            _dsn(url), server_settings={"application_name": f"{APPLICATION} migrations"}
        ),
        poolclass=NullPool,
    )


def _kind(url: str) -> str:
    scheme, found, _ = url.partition("://")
    if not found:
        raise BadDatabaseUrl(f"the database URL has no scheme: {_EXPECTED}")
    if scheme in ("sqlite", "sqlite+aiosqlite"):
        return "sqlite"
    if scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        return "postgresql"
    raise BadDatabaseUrl(f"the database URL's scheme is {scheme!r}: {_EXPECTED}")


def _dsn(url: str) -> str:
    """The URL as libpq takes it; asyncpg reads its parameters, such as sslmode, itself."""
    dsn = "postgresql://" + url.partition("://")[2]
    try:
        parts = urlsplit(dsn)
        for host in parts.netloc.rpartition("@")[2].split(","):
            # Asked for what it raises: asyncpg would, too, but in a traceback.
            _ = urlsplit(f"//{host}").port
    except ValueError as error:
        raise BadDatabaseUrl(f"the database URL cannot be read: {_EXPECTED}") from error
    for mode in parse_qs(parts.query).get("sslmode", ()):
        if mode not in _SSL_MODES:
            raise BadDatabaseUrl(
                f"the database URL's sslmode is {mode!r}: expected one of {', '.join(_SSL_MODES)}"
            )
    return dsn


def _replace_nul(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
) -> tuple[str, Any]:
    """PostgreSQL's text holds everything but NUL, which callers and providers may send."""
    return statement, [*map(_without_nul, parameters)] if many else _without_nul(parameters)


def _leave_read_only_server(context: ExceptionContext) -> None:
    """After a failover the old primary may answer as a standby: its connections stay good for
    reading, so nothing else would ever end them."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _without_nul(parameters: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value
        for value in parameters
    )


def _sqlite_engine(url: str, *, busy_seconds: int, **options: Any) -> AsyncEngine:
    parsed = _sqlite_url(url)
    _keep_private(Path(parsed.database or ""))
    return create_async_engine(
        parsed,
        hide_parameters=True,
        connect_args={"timeout": busy_seconds, "async_creator_fn": sqlite_driver.connect},
        **options,
    )


def _sqlite_url(url: str) -> URL:
    try:
        parsed = make_url(url).set(drivername="sqlite+aiosqlite")
    except ArgumentError as error:
        raise BadDatabaseUrl(f"the database URL cannot be read: {_EXPECTED}") from error
    if parsed.host or parsed.database in (None, "", ":memory:"):
        # In memory each connection would have a ledger of its own.
        raise BadDatabaseUrl(f"the database URL names no file: {_EXPECTED}")
    return parsed


def _keep_private(path: Path) -> None:
    """See to it that only its owner reads the database; SQLite gives its other files its mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A folder that cannot be written to is SQLite's to complain of, in words that are known.
    with suppress(PermissionError):
        # Made here, as it would be readable for a moment otherwise.
        path.touch(mode=0o600)
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        with suppress(FileNotFoundError):
            found = each.stat()
            if found.st_mode & 0o077 and found.st_uid == os.getuid():
                each.chmod(0o600)


def _switch_to_wal(connection: Any, _record: Any) -> None:
    """Before anybody migrates."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()

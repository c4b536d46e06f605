"""How a connection to PostgreSQL is made: to the server of the URL that takes writes."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from core.ledger.errors import BadDatabaseUrl

_CONNECT_TIMEOUT = 10.0
_HOST_TIMEOUT = 3.0
"""Of each where there are several: one that is silent must leave time for the others, also where
all together may take no longer than a look at whether the service is ready."""
_TARGET = "target_session_attrs"
_SILENCE_SECONDS = 10
"""Of the server's machine, not of the server: after it a connection is given up."""
_PROBE_SECONDS = 3

Connect: TypeAlias = Callable[[], Awaitable[Any]]


def connector(dsn: str, *, server_settings: Mapping[str, str], **options: Any) -> Connect:
    """What connects to the servers of a URL, by turns until one takes the connection.

    asyncpg does so too, but within one time limit for all of them, so that a machine that is
    gone without a word keeps it from those behind it; and it is content with a standby. The
    server that was found last is asked first. `options`: asyncpg's.

    Raises BadDatabaseUrl, OSError, or asyncpg's errors.
    """
    import asyncpg  # type: ignore[import-untyped]

    # What says nothing of the other servers.
    next_please = (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError)
    servers = _servers(dsn)
    if len(servers) > 1 and _TARGET not in parse_qs(urlsplit(dsn).query):
        options[_TARGET] = "read-write"
    timeout = _HOST_TIMEOUT if len(servers) > 1 else _CONNECT_TIMEOUT

    async def connect_to(server: str) -> Any:
        try:
            connection = await asyncpg.connect(
                server, timeout=timeout, server_settings=dict(server_settings), **options
            )
        except asyncpg.TargetServerAttributeNotMatched:
            raise ConnectionError(
                f"no server that was reached is as {_TARGET} asks: it may be a standby"
            ) from None
        except asyncpg.UndefinedObjectError as error:
            # asyncpg hands the server each parameter of the URL that it does not know itself.
            raise BadDatabaseUrl(
                f"the database URL has a parameter that cannot be used here: {error}"
            ) from None
        _give_up_in_silence(connection)
        return connection

    async def connect() -> Any:
        failed: Exception | None = None
        for server in tuple(servers):
            # Whatever comes of it, an end of the patience too: the next one begins elsewhere.
            servers.remove(server)
            servers.append(server)
            try:
                connection = await connect_to(server)
            except next_please as error:
                failed = error
            else:
                servers.remove(server)
                servers.insert(0, server)
                return connection
        assert failed is not None
        raise failed

    return connect


def _servers(dsn: str) -> list[str]:
    """A URL for each server that one names."""
    parts = urlsplit(dsn)
    login, found, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{login}{found}{host}").geturl() for host in hosts.split(",")]


def _give_up_in_silence(connection: Any) -> None:
    """End a connection soon whose machine is gone, or behind a network that is: nothing tells of
    that, and only after the longest statement would it be known that no answer comes."""
    if sys.platform != "linux":
        return
    # asyncpg has no other way to it.
    own: socket.socket = connection._transport.get_extra_info("socket")
    if own.family == socket.AF_UNIX:
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_SECONDS)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _SILENCE_SECONDS)

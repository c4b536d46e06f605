"""The HTTP API under TLS: what files that are replaced do to the next connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs
from structlog.typing import EventDict

from core.serving import TlsFiles
from services.web import server
from services.web.server import HttpServer

SOON = 0.02
PATIENCE = 30.0
GET = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


class Clients:
    """An authority of clients, and one of them."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.issued = self.authority.issue_cert("me")


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


Start = Callable[[TlsFiles], Awaitable[int]]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(server, "_RENEWAL_SECONDS", SOON)
    started: list[HttpServer] = []

    async def start(tls: TlsFiles) -> int:
        running = HttpServer(answer, "127.0.0.1:0", tls=tls, connections=100)
        started.append(running)
        await running.start()
        return running.port

    yield start
    for running in started:
        await running.stop(0)


def laid_down(
    folder: Path, services: trustme.CA, clients: Clients | None = None
) -> tuple[TlsFiles, Path]:
    """Files of a server; and that of its clients' authority."""
    authority = folder / "clients.pem"
    files = TlsFiles(folder / "cert.pem", folder / "key.pem", authority if clients else None)
    own = services.issue_cert("127.0.0.1")
    own.cert_chain_pems[0].write_to_path(files.cert)
    own.private_key_pem.write_to_path(files.key)
    if clients is not None:
        clients.authority.cert_pem.write_to_path(authority)
    return files, authority


def context_of(services: trustme.CA, clients: Clients | None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    services.configure_trust(made)
    if clients is not None:
        clients.issued.configure_cert(made)
    return made


async def answered(port: int, context: ssl.SSLContext) -> bool:
    """Whether somebody with this certificate, or none, is answered."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return False
    try:
        writer.write(GET)
        return (await reader.read()).startswith(b"HTTP/1.1 204")
    except (ssl.SSLError, ConnectionError):
        # Under TLS 1.3 the client has shaken hands before it is told.
        return False
    finally:
        writer.close()


@asynccontextmanager
async def until_renewed() -> AsyncIterator[None]:
    """Wait after the block for the server to say that it has taken new files."""
    renewed = asyncio.Event()

    def hear(_logger: Any, _method: str, event: EventDict) -> EventDict:
        if event["event"] == "tls_renewed":
            renewed.set()
        return event

    with capture_logs(processors=[hear]):
        yield
        await asyncio.wait_for(renewed.wait(), PATIENCE)


async def test_an_authority_that_was_taken_away_lets_nobody_in(
    start: Start, tmp_path: Path
) -> None:
    services, before, after = trustme.CA(), Clients(), Clients()
    files, authority = laid_down(tmp_path, services, before)
    port = await start(files)
    leaving, coming = context_of(services, before), context_of(services, after)
    assert await answered(port, leaving)
    assert not await answered(port, coming)
    assert not await answered(port, context_of(services, None))
    async with until_renewed():
        after.authority.cert_pem.write_to_path(authority)
    assert await answered(port, coming)
    assert not await answered(port, leaving)
    assert not await answered(port, context_of(services, None))


async def test_nobody_who_has_to_show_a_certificate_is_let_in_without(
    start: Start, tmp_path: Path
) -> None:
    services, clients = trustme.CA(), Clients()
    files, _ = laid_down(tmp_path, services, clients)
    port = await start(files)
    context = context_of(services, clients)
    context.minimum_version = ssl.TLSVersion.TLSv1_3

    def session() -> ssl.SSLSession | None:
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(GET)
            while connection.recv(1024):
                pass
            return connection.session

    found = await asyncio.to_thread(session)
    assert found is None or not found.has_ticket, "with it the next handshake asks for none"


async def test_a_renewed_certificate_serves_the_next_connection(
    start: Start, tmp_path: Path
) -> None:
    services, others = trustme.CA(), trustme.CA()
    files, _ = laid_down(tmp_path, services)
    port = await start(files)
    assert await answered(port, context_of(services, None))
    async with until_renewed():
        laid_down(tmp_path, others)
    assert await answered(port, context_of(others, None))
    assert not await answered(port, context_of(services, None))

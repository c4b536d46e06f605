"""A provider that does as it is told, over real HTTP, and one that breaks connections."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.providers.contract import Intent
from core.providers.http.client import ProviderHttp
from core.providers.http.holds import CredentialHold

KEY = "sk-secret-0123456789"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
METHODS = ["GET", "POST", "DELETE"]
SPOOLED = b'{"a":1}\n' * 100_000


@dataclass
class Call:
    """One request as the provider saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


Reply = Response | Callable[[Call], Awaitable[Response] | Response]


@dataclass
class FakeProvider:
    """Answers each (method, path) with its replies in turn; the last one stays."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    _replies: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self._replies[method, path] = list(replies)

    def seen(self, method: str, path: str) -> list[Call]:
        return [call for call in self.calls if (call.method, call.path) == (method, path)]

    async def handle(self, request: Request) -> Response:
        call = Call(
            request.method,
            request.scope["path"],
            dict(request.query_params),
            dict(request.headers),
            await request.body(),
        )
        self.calls.append(call)
        replies = self._replies.get((call.method, call.path))
        if replies is None:
            return error(404, "no such thing", "not_found_error")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Response):
            return reply
        answer = reply(call)
        return answer if isinstance(answer, Response) else await answer


def error(
    status: int, message: str, kind: str, code: str | None = None, **headers: str
) -> Response:
    """An error in the vendors' envelope."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JSONResponse(body, status, headers={k.replace("_", "-"): v for k, v in headers.items()})


class Stage:
    """A server in a thread of its own, on which one fake provider after another appears.

    Started once for all tests: a server for each would take most of their time.
    """

    def __init__(self) -> None:
        self.provider = FakeProvider()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        app = Starlette(routes=[Route("/{path:path}", self._handle, methods=METHODS)])
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
        )
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._listener]})

    async def _handle(self, request: Request) -> Response:
        return await self.provider.handle(request)

    def present(self) -> FakeProvider:
        """A fresh provider, which takes the place of the one before."""
        self.provider = FakeProvider(self.url)
        return self.provider

    @contextmanager
    def open(self) -> Iterator[Stage]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(timeout=30)
            self._listener.close()


@dataclass
class Naps:
    """Takes the place of asyncio.sleep: returns at once and remembers."""

    taken: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@asynccontextmanager
async def connect(
    url: str, naps: Naps, *, seconds: float = 30.0, hold: CredentialHold | None = None
) -> AsyncIterator[ProviderHttp]:
    headers = {"authorization": f"Bearer {KEY}"}
    http = ProviderHttp(url, headers, secret=KEY, timeout=seconds, hold=hold, sleep=naps)
    try:
        yield http
    finally:
        await http.close()


def make_intent(**changes: Any) -> Intent:
    values: dict[str, Any] = {
        "shard_id": "shard_0001",
        "token": "tok9",
        "endpoint": "/v1/chat/completions",
        "model": "gpt-4.1",
        "line_count": 2,
        "size": len(SPOOLED),
        "sha256": "0" * 64,
        "intended_at": NOW - timedelta(seconds=10),
    }
    return Intent(**(values | changes))


@dataclass
class Breaker:
    """A server that reads a request, or not, and drops the connection."""

    url: str
    connections: int = 0
    received: int = 0


@asynccontextmanager
async def breaking(
    *, read: bool, answer: bytes = b"", hold: bool = False
) -> AsyncIterator[Breaker]:
    """`answer` is sent, as it is, before the drop; `hold`: not before the client has gone."""

    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        handlers.add(handler)
        breaker.connections += 1
        try:
            if read:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                breaker.received += len(await reader.readexactly(length))
            if hold:
                await reader.read()
            if answer:
                writer.write(answer)
                await writer.drain()
                writer.close()
        finally:
            if not answer:
                writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    breaker = Breaker(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        yield breaker
    await asyncio.gather(*handlers, return_exceptions=True)


def unused_url() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

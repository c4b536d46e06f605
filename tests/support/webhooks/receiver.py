"""A receiver of webhooks on a free port, which answers as a test tells it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

RESET = "reset"
HANG = "hang"


@dataclass(frozen=True)
class Call:
    """What came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers each call with the next of `answers`: a status, RESET, HANG, or bytes as they are;
    200 when there is none left."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.answers: deque[int | str | bytes] = deque()
        self.calls: list[Call] = []
        self.called = asyncio.Event()
        self.released = asyncio.Event()
        """Ends what hangs."""
        self.tls = tls
        self.port = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/hooks"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one call."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            writer.close()
            return
        request, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.calls.append(Call(request.split()[1], headers, body))
        answer = self.answers.popleft() if self.answers else 200
        self.called.set()
        if answer == HANG:
            await self.released.wait()
        elif answer == RESET:
            # With no time to linger, closing sends a reset.
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            whole = answer if isinstance(answer, bytes) else plain(int(answer))
            writer.write(whole)
            await writer.drain()
        writer.close()


def plain(status: int, *headers: str) -> bytes:
    """An answer with headers, and a body that nobody may see."""
    lines = [f"HTTP/1.1 {status} Whatever", "content-length: 6", *headers, "", "secret"]
    return "\r\n".join(lines).encode()


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver(tls)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.close()
        await server.wait_closed()

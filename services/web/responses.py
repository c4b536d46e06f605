"""Answers: JSON, and bytes that are passed on as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.web.errors import ClientGone

# Money is exact on the wire, too.
_encode = msgspec.json.Encoder(decimal_format="number").encode


def json_response(content: Any, status: int = 200) -> Response:
    """Content as JSON."""
    return Response(_encode(content), status, media_type="application/json")


class Streamed(Response):
    """Chunks as they come; what makes them is closed however it ends.

    Not Starlette's own, which leaves a generator that is interrupted to the garbage collector,
    and with it a call to the engine.
    """

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # To a client that has left, sending does nothing and says nothing.
        left = asyncio.create_task(_left(receive))
        try:
            async with aclosing(self._rest):
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
                # To HEAD the server sends no body: fetched for it would be gigabytes for nothing.
                if scope["method"] != "HEAD":
                    await self._send_all(send, left)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)

    async def _send_all(self, send: Send, left: asyncio.Task[None]) -> None:
        await send(_part(self._first))
        async for chunk in self._rest:
            if left.done():
                raise ClientGone
            await send(_part(chunk))


async def streamed(
    chunks: AsyncGenerator[bytes, None], media_type: str, headers: Mapping[str, str] | None = None
) -> Streamed:
    """An answer of chunks. The first is awaited here: before it an error is still an answer."""
    try:
        first = await anext(chunks, b"")
    except BaseException:
        await chunks.aclose()
        raise
    return Streamed(first, chunks, media_type, headers or {})


def _part(chunk: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": chunk, "more_body": True}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""Small pieces of HTTP that the vendors' interfaces are made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse


def json_response(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def stream_response(pieces: Iterator[bytes], media_type: str) -> StreamingResponse:
    """Sends pieces while they are made, with a look at other requests between them."""

    async def give_way() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)

    return StreamingResponse(give_way(), media_type=media_type)


def api_key(request: Request) -> str:
    """The key of a request, from `x-api-key` or a bearer token; empty if there is none."""
    key = request.headers.get("x-api-key", "")
    if key:
        return key
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def int_param(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number from the query string. Raises ValueError that says what was expected."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"'{name}' must be an integer, not '{text}'.") from None
    if not low <= number <= high:
        raise ValueError(f"'{name}' must be from {low} to {high}, not {number}.")
    return number

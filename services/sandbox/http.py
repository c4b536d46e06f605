"""Small pieces of HTTP that the vendors' interfaces are made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import blake2b
from math import ceil
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

WHEN_TOLD = "sandbox.when_told"
"""Key in a scope: what is to be done once the answer has gone out whole."""


def when_told(request: Request, act: Callable[[], None]) -> None:
    """Have something done once the answer to this request has gone out whole."""
    request.scope[WHEN_TOLD] = act


def retry_after(seconds: float) -> dict[str, str]:
    """The headers that ask to wait: whole seconds, and exact milliseconds beside them."""
    return {"retry-after": str(ceil(seconds)), "retry-after-ms": str(ceil(seconds * 1000))}


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


def gemini_key(request: Request) -> str:
    """The key of a request to Gemini; empty if there is none."""
    return request.headers.get("x-goog-api-key") or request.query_params.get("key", "")


def digest_of(key: str) -> str:
    """What stands for a key wherever it is remembered."""
    return blake2b(key.encode(), digest_size=16).hexdigest()


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

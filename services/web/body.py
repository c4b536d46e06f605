"""The body of a request, as it comes: never whole, never endless, never too slow.

In: what the client sends. Out: its pieces, or JSON of a bounded size. What can go wrong: the
client leaves (ClientGone), says nothing or trickles (408), sends more than is taken (413), or sends
it compressed (415).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from difflib import get_close_matches
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from core.settings import Settings
from services.web.errors import ClientGone, HttpError

T = TypeVar("T")

_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_LONGEST_NAME = 100
MAX_JSON_BYTES = 1024 * 1024
BODY = "polybatch.body"
"""Key in a scope."""

# What a form, or JSON, has around a file of the largest kind.
_MAX_AROUND_BYTES = 64 * 1024 * 1024
# Of a body that nobody wants any more: who has sent it reads no answer before it has gone.
_DRAIN_SECONDS = 30.0


class Body:
    """The body of one request; `receive` is what the application is given in its place."""

    def __init__(self, scope: Scope, receive: Receive, settings: Settings) -> None:
        self.settings = settings
        self._receive = receive
        self._idle = settings.upload_idle_timeout
        self._least = settings.upload_min_rate
        self._limit = settings.max_file_bytes + _MAX_AROUND_BYTES
        self._total = 0
        self._waited = 0.0
        self._came = 0
        self._ended = False
        self._length = _content_length(scope)
        self._encoding = _content_encoding(scope)

    @property
    def length(self) -> int | None:
        """Bytes that the client has announced; None: it has not."""
        return self._length

    async def receive(self) -> Message:
        """The next message, as ASGI has it. Raises HttpError (408)."""
        if self._ended:
            return await self._receive()
        clock = asyncio.get_running_loop().time
        asked = clock()
        try:
            async with asyncio.timeout(self._idle):
                message = await self._receive()
        except TimeoutError:
            raise HttpError(408, f"Nothing came for {self._idle:g} s.", retry=True) from None
        if message["type"] == "http.request":
            self._count(clock() - asked, len(message.get("body", b"")))
            self._ended = not message.get("more_body", False)
        else:
            self._ended = True
        return message

    def _count(self, waited: float, size: int) -> None:
        """Over each span of waiting, as the gateway has it for its streams."""
        self._total += size
        if self._total > self._limit:
            raise HttpError(413, f"The body has more than {self._limit} bytes.")
        self._waited += waited
        self._came += size
        if self._waited < self._idle:
            return
        if self._came < self._least * self._waited:
            raise HttpError(
                408,
                f"{self._came} bytes came in {self._waited:.0f} s, less than "
                f"{self._least:g} a second.",
                retry=True,
            )
        self._waited, self._came = 0.0, 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes as they come. Raises ClientGone, HttpError (also 415)."""
        if self._encoding:
            # Unread as what it says it is, it would be refused for something else.
            raise HttpError(
                415,
                f"The body came with Content-Encoding: {self._encoding[:50]}, which is not taken "
                "here: send it uncompressed, without that header.",
                "unsupported_content_encoding",
                headers={"accept-encoding": "identity"},
            )
        while not self._ended:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            if piece := message.get("body", b""):
                yield piece

    async def drain(self) -> None:
        """Take what is still to come and forget it, so that the client reads the answer.

        A connection that is closed on bytes which nobody has read is reset, and with it goes
        the answer. However much is still to come, for some seconds. Raises nothing.
        """
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not self._ended:
                    async with asyncio.timeout(self._idle):
                        message = await self._receive()
                    more = message["type"] == "http.request" and message.get("more_body", False)
                    self._ended = not more
        except TimeoutError:
            return

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return self._ended


def body_of(request: Request) -> Body:
    """That of a request."""
    body: Body = request.scope[BODY]
    return body


async def read_json(request: Request, kind: type[T]) -> T:
    """The body as a struct. Raises HttpError (400 with the field, 413), ClientGone."""
    body = body_of(request)
    raw = bytearray()
    too_large = HttpError(413, f"The body has more than {MAX_JSON_BYTES} bytes.")
    if (body.length or 0) > MAX_JSON_BYTES:
        raise too_large
    async for piece in body.pieces():
        raw += piece
        if len(raw) > MAX_JSON_BYTES:
            raise too_large
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), getattr(kind, "__struct_fields__", ())) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HttpError(
            400, "We could not parse the JSON body of your request: it is no valid JSON."
        ) from None


def _invalid(found: str, names: Sequence[str]) -> HttpError:
    """What msgspec found, as OpenAI words it. `names`: of the fields that there are.

    Such as "Object missing required field `endpoint`", "Expected `str`, got `int` - at
    `$.input_file_id`".
    """
    message, _, path = found.partition(" - at `")
    path = path.rstrip("`").removeprefix("$").removeprefix(".")
    missing = _MISSING.fullmatch(message)
    if missing is not None:
        param = f"{path}.{missing[1]}" if path else missing[1]
        return HttpError(
            400, f"Missing required parameter: '{param}'.", "missing_required_parameter", param
        )
    unknown = _UNKNOWN.fullmatch(message)
    if unknown is not None:
        return _unknown(unknown[1][:_LONGEST_NAME], path, names)
    # The keys and values of a mapping have no name of their own.
    param = path.partition("[")[0]
    what = f"'{param}'" if param else "the body"
    expected = message.replace("`", "").removesuffix(".")
    return HttpError(400, f"Invalid type for {what}: {expected}.", "invalid_type", param or None)


def _unknown(name: str, path: str, names: Sequence[str]) -> HttpError:
    param = f"{path}.{name}" if path else name
    near = [] if path else get_close_matches(name, names, 1)
    step = f"Did you mean '{near[0]}'?" if near else "/openapi.json has those that there are."
    return HttpError(400, f"Unknown parameter: '{param}'. {step}", "unknown_parameter", param)


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def _content_encoding(scope: Scope) -> str:
    """How the body is encoded; empty where it is not."""
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            found: str = value.decode("ascii", "replace").strip().lower()
            return "" if found == "identity" else found
    return ""

"""What a lenient translation left out of the lines of a shard."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from core.batchfile import Request, ResultFile
from core.blobs import BlobStore
from core.providers import LineRejected, Provider


class DroppedFields:
    """Reads the lists that the dispatcher stored beside a shard, in constant memory."""

    def __init__(self, blobs: BlobStore, prefix: str) -> None:
        self._blobs = blobs
        self._prefix = prefix
        self._lists = self._read()
        self._line = 0
        self._list = b""

    async def __aenter__(self) -> DroppedFields:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self._lists.aclose()

    async def of(self, line: int, _model: str, _request: Request) -> bytes | None:
        """The list of a line, as JSON; None if nothing was left out. Lines have to rise."""
        while self._line < line:
            try:
                self._line, self._list = await anext(self._lists)
            except StopAsyncIteration:
                return None
        return self._list if self._line == line else None

    async def _read(self) -> AsyncGenerator[tuple[int, bytes], None]:
        lists = await ResultFile.open(self._blobs, self._prefix)
        async with aclosing(lists.lines()) as groups:
            async for group in groups:
                for each in group:
                    yield each.line, each.raw.removesuffix(b"\n")


class DroppedAnew:
    """Tells it of lines that are called one by one, of which no list was stored: each is translated
    once more."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __aenter__(self) -> DroppedAnew:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Nothing is open."""

    async def of(self, _line: int, model: str, request: Request) -> bytes | None:
        """The list of a line, as JSON; None if nothing was left out."""
        try:
            _, dropped = self._provider.encode_line(
                "call", request.url, model, bytes(request.body), lenient=True
            )
        except LineRejected:
            # It was not called.
            return None
        return msgspec.json.encode(dropped) if dropped else None

"""What a lenient translation left out of the lines of a shard."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.batchfile import ResultFile
from core.blobs import BlobStore


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

    async def of(self, line: int) -> bytes | None:
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

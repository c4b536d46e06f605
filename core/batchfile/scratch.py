"""Bytes that are written once and read back when all are there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint


class Scratch:
    """Keeps bytes in memory while they are few, and in the store beyond that.

    Most files are small: their index need not be stored twice.
    """

    def __init__(self, store: BlobStore, prefix: str, *, segment_bytes: int) -> None:
        """`prefix` is this one's alone; whoever made it up deletes it."""
        self._store = store
        self._prefix = prefix
        self._segment_bytes = segment_bytes
        self._kept = bytearray()
        self._writer: SegmentWriter | None = None

    async def write(self, data: bytes) -> None:
        """Append. Raises BlobUnavailable."""
        self._kept += data
        if len(self._kept) >= self._segment_bytes:
            await self._store_kept()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield all that was written; nothing can be written afterwards."""
        if self._writer is None:
            yield bytes(self._kept)
            return
        await self._store_kept()
        await self._writer.flush()
        stored = await StoredFile.open(self._store, self._prefix)
        async with aclosing(stored.stream()) as chunks:
            async for chunk in chunks:
                yield chunk

    async def abandon(self) -> None:
        """Wait for what is being put."""
        if self._writer is not None:
            await self._writer.abandon()

    async def _store_kept(self) -> None:
        if self._writer is None:
            self._writer = SegmentWriter(
                self._store,
                self._prefix,
                point=Failpoint.UPLOAD_SCRATCH,
                segment_bytes=self._segment_bytes,
            )
        kept = bytes(self._kept)
        self._kept.clear()
        await self._writer.write(kept)

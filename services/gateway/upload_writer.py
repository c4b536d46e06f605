"""An upload's bytes on their way in: checked, hashed and stored at the same time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from core.batchfile import CheckedFile, FileChecker
from core.blobs import BlobError, BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint

log = structlog.get_logger()

# Pieces below a quarter of this are joined up to it: what a piece costs besides its bytes
# (a scan, an entry in a segment and in a hash job) would outweigh them.
_JOINED_PIECE = 1024 * 1024
# A thread needs the GIL to start and to end, and may wait long for it: few jobs, large
# ones. The pieces are held by a segment for about as long anyway.
_HASHED_AT_ONCE = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """An upload whose every byte is checked and durable."""

    checked: CheckedFile
    sha256: str
    md5: str
    """Empty where it was not asked for."""


class UploadWriter:
    """Takes one upload's bytes in order; for one task.

    Hashing runs in a thread, beside the check and the receiving of the next piece, and
    so does the writing of a segment: hashlib, write and fsync all release the GIL.
    """

    def __init__(
        self,
        blobs: BlobStore,
        prefix: str,
        checker: FileChecker,
        *,
        segment_bytes: int,
        offset: int,
        with_md5: bool = False,
    ) -> None:
        """`offset`: committed bytes of an upload that is resumed; give them to `replay`."""
        self._blobs = blobs
        self._data_prefix = f"{prefix}/data"
        self._checker = checker
        self._digest = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None
        self._hashing: asyncio.Future[None] | None = None
        self._unhashed: list[bytes] = []
        self._unhashed_size = 0
        self._data = SegmentWriter(
            blobs,
            self._data_prefix,
            point=Failpoint.UPLOAD_DATA,
            segment_bytes=segment_bytes,
            offset=offset,
        )
        self._small = bytearray()
        self._joined_piece = min(_JOINED_PIECE, segment_bytes)

    @property
    def size(self) -> int:
        """Bytes taken, committed or not."""
        return self._data.size + len(self._small)

    async def replay(self, stored: StoredFile) -> None:
        """Bring check and hash to where they were: by the committed bytes, read again."""
        async with aclosing(stored.stream()) as pieces:
            async for piece in pieces:
                await self._check(piece)

    async def take(self, piece: bytes) -> None:
        """Take the next bytes. Raises TooManyLines, SegmentConflict, BlobUnavailable."""
        if len(piece) < self._joined_piece // 4:
            self._small += piece
            if len(self._small) < self._joined_piece:
                return
            await self._take_small()
        else:
            await self._take_small()
            await self._take(piece)
        await self._checker.tell()

    async def finish(self) -> StoredUpload | None:
        """Commit everything and end the check. Raises as `take`.

        None when the stored bytes are not those that were taken: somebody has deleted
        the upload meanwhile.
        """
        await self._take_small()
        size = await self._data.close()
        stored = await StoredFile.open(self._blobs, self._data_prefix)
        if stored.size != size:
            return None
        checked = await self._checker.finish(stored)
        await self._hash()
        await self._hashed()
        md5 = self._md5.hexdigest() if self._md5 is not None else ""
        return StoredUpload(checked, self._digest.hexdigest(), md5)

    async def suspend(self) -> int:
        """Commit what was taken, as far as that goes; returns the committed size."""
        try:
            if self._small:
                await self._data.write(bytes(self._small))
                self._small.clear()
            await self._data.flush()
        except BlobError as error:
            log.info("upload_tail_lost", cause=type(error).__name__)
        return await self.abandon()

    async def abandon(self) -> int:
        """Stop without committing more; returns the committed size. Raises nothing."""
        await self._checker.abandon()
        await self._hashed()
        return await self._data.abandon()

    async def _take_small(self) -> None:
        if self._small:
            piece = bytes(self._small)
            self._small.clear()
            await self._take(piece)

    async def _take(self, piece: bytes) -> None:
        await self._data.write(piece)
        await self._check(piece)

    async def _check(self, piece: bytes) -> None:
        self._unhashed.append(piece)
        self._unhashed_size += len(piece)
        if self._unhashed_size >= _HASHED_AT_ONCE:
            await self._hash()
        await self._checker.feed(piece)

    async def _hash(self) -> None:
        await self._hashed()
        pieces, self._unhashed, self._unhashed_size = self._unhashed, [], 0
        self._hashing = asyncio.get_running_loop().run_in_executor(
            None, _update, (self._digest, self._md5), pieces
        )

    async def _hashed(self) -> None:
        if self._hashing is not None:
            await asyncio.wait([self._hashing])
            self._hashing.result()
            self._hashing = None


def _update(digests: Sequence[hashlib._Hash | None], pieces: Sequence[bytes]) -> None:
    for digest in digests:
        if digest is not None:
            for piece in pieces:
                digest.update(piece)

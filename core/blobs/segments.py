"""Stored files: ordered immutable segments under one prefix.

A segment's key is `{prefix}/{offset:020d}`, the offset of its first byte in the
file. What is committed is the contiguous run of segments from 0 on; a crash can
only cost what was not committed, and whoever lists the segments knows where to go on.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress

from core.blobs.errors import BlobError, BlobExists, BlobMissing, SegmentConflict
from core.blobs.store import BlobStore, Draft
from core.failpoints import Failpoint

# Two messages of an upload. What a piece costs besides its bytes, a thread's turn and two of the
# event loop, is a tenth of what checking a megabyte takes.
_PIECE_BYTES = 1024 * 1024


def segment_key(prefix: str, offset: int) -> str:
    """Key of the segment that starts at `offset`."""
    return f"{prefix}/{offset:020d}"


class SegmentWriter:
    """Appends to one stored file; for one task.

    Segments have `segment_bytes` each, the last one what remains. Their bytes go to a
    draft a piece at a time, so in a local folder memory holds a few pieces; object
    storage takes segments whole, and memory holds two. While one segment is being
    committed, the next one fills; in a local folder, while two are, of which the second
    gets its name after the first: a disk that is asked for one thing at a time is idle
    half of it. After an error every further call raises it again.
    """

    def __init__(
        self,
        store: BlobStore,
        prefix: str,
        *,
        point: Failpoint,
        segment_bytes: int,
        offset: int = 0,
        overwrite: bool = False,
    ) -> None:
        """Write under `prefix` from `offset` on (the committed size, to resume).

        `point` names each segment's commit.
        `overwrite`: for what comes out the same whenever it is made again. Segments
        of an earlier or a concurrent making are replaced by their like, so a reader of
        a complete file is never disturbed; `close` deletes what does not belong.
        """
        if overwrite and offset:
            raise ValueError("overwrite starts at offset 0")
        self._store = store
        self._prefix = prefix
        self._point = point
        self._segment_bytes = segment_bytes
        self._overwrite = overwrite
        self._start = offset
        self._draft: Draft | None = None
        self._drafted = 0
        self._parts: list[bytes | memoryview] = []
        self._buffered = 0
        self._appending: asyncio.Task[None] | None = None
        self._committing: deque[asyncio.Task[int]] = deque()
        self.committed = offset
        """Bytes of the file that are durable. Never falls."""

    @property
    def size(self) -> int:
        """Bytes written so far, committed or not."""
        return self._start + self._drafted + self._buffered

    async def write(self, data: bytes | memoryview) -> None:
        """Append. The buffer must not change afterwards.

        Raises SegmentConflict when another writer has been here, BlobUnavailable.
        """
        while (room := self._start + self._segment_bytes - self.size) <= len(data):
            if room < len(data):
                data = memoryview(data)
            self._append(data[:room])
            data = data[room:]
            await self._commit_segment()
        self._append(data)
        if self._buffered >= _PIECE_BYTES:
            await self._hand_over()

    async def flush(self) -> int:
        """Commit all that was written; returns the committed size.

        Errors as `write`. Not for `overwrite`, whose segments have to come out the same.
        """
        if self._drafted or self._buffered:
            await self._commit_segment()
        await self._settle()
        return self.committed

    async def close(self) -> int:
        """Commit the rest; returns the file's size in bytes. Errors as `write`."""
        size = await self.flush()
        if self._overwrite:
            await self._delete_leftovers(size)
        return size

    async def abandon(self) -> int:
        """Wait for the commit under way, drop the rest; returns the committed size.

        Raises nothing when the commit fails: the committed size says it.
        """
        self._parts = []
        self._buffered = 0
        with suppress(BlobError):
            await self._appended()
        if self._draft is not None:
            await self._draft.discard()
        with suppress(BlobError):
            await self._settle()
        if self._committing:
            await asyncio.wait(self._committing)
            for task in self._committing:
                task.exception()
        return self.committed

    def _append(self, data: bytes | memoryview) -> None:
        if data:
            self._parts.append(data)
            self._buffered += len(data)

    async def _hand_over(self) -> None:
        """Give the draft what is buffered, unless it is busy and there is room yet."""
        busy = self._appending is not None and not self._appending.done()
        if busy and self._buffered < 2 * _PIECE_BYTES:
            return
        await self._appended()
        parts, self._parts = self._parts, []
        self._drafted, self._buffered = self._drafted + self._buffered, 0
        draft = self._draft = self._draft or self._new_draft()
        self._appending = asyncio.create_task(draft.append(parts))

    async def _appended(self) -> None:
        if self._appending is not None:
            # wait() instead of awaiting the task: a cancelled writer must not cancel it
            # half way, or nobody knows what was written.
            await asyncio.wait([self._appending])
            self._appending.result()
            self._appending = None

    async def _commit_segment(self) -> None:
        await self._appended()
        on_disk = self._draft is not None and self._draft.on_disk
        await self._settle(but=1 if on_disk else 0)
        draft, self._draft = self._draft or self._new_draft(), None
        parts, self._parts = self._parts, []
        self._start, self._drafted, self._buffered = self.size, 0, 0
        before = self._committing[-1] if self._committing else None
        self._committing.append(
            asyncio.create_task(self._commit(draft, parts, self._start, before))
        )

    async def _settle(self, but: int = 0) -> None:
        """Wait for all commits but the last so many."""
        while len(self._committing) > but:
            await asyncio.wait([self._committing[0]])
            self.committed = self._committing[0].result()
            self._committing.popleft()

    def _new_draft(self) -> Draft:
        return self._store.draft(segment_key(self._prefix, self._start), point=self._point)

    async def _commit(
        self,
        draft: Draft,
        parts: list[bytes | memoryview],
        end: int,
        before: asyncio.Task[int] | None,
    ) -> int:
        """`before`: the commit of the segment before, which has to have its name first."""
        if before is not None:
            await draft.sync(parts)
            parts = []
            await asyncio.wait([before])
            if before.exception() is not None:
                await draft.discard()
                return self.committed
        try:
            await draft.commit(parts, create_only=not self._overwrite)
        except BlobExists as error:
            raise SegmentConflict(
                f"another writer committed the segment {error.key}", key=error.key
            ) from error
        return end

    async def _delete_leftovers(self, size: int) -> None:
        """Delete the segments of an earlier making that had other sizes."""
        own = {segment_key(self._prefix, offset) for offset in range(0, size, self._segment_bytes)}
        leftovers = [key for key, _ in await self._store.list(self._prefix) if key not in own]
        await self._store.delete(leftovers, point=self._point)


class StoredFile:
    """Reads one stored file as it was committed when it was opened."""

    def __init__(self, store: BlobStore, prefix: str, starts: array[int], size: int) -> None:
        self._store = store
        self._prefix = prefix
        self._starts = starts
        self.size = size
        """Committed bytes: the end of the last contiguous segment."""

    @classmethod
    async def open(cls, store: BlobStore, prefix: str) -> StoredFile:
        """List the segments. A prefix with none is a file of size 0.

        Other names are passed over: servers on a file system (versitygw 1.8) list for a moment
        those of files that they are about to rename.
        """
        starts = array("Q")
        size = 0
        for key, length in await store.list(prefix):
            if not key.removeprefix(f"{prefix}/").isdigit():
                continue
            if key != segment_key(prefix, size):
                break
            if length:
                starts.append(size)
            size += length
        return cls(store, prefix, starts, size)

    async def read(self, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes from `offset`. Raises BlobMissing past the end."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise BlobMissing(
                f"stored file {self._prefix} has {self.size} bytes, "
                f"{offset}..{offset + length} asked for",
                key=self._prefix,
            )
        spans = list(self._spans(offset, offset + length, length or 1))
        if len(spans) == 1:
            return await self._store.get_range(*spans[0])
        return b"".join([await self._store.get_range(*span) for span in spans])

    async def stream(
        self, offset: int = 0, end: int | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes offset..end in order, in chunks of `chunk_bytes` at most.

        Reads one chunk ahead, so memory holds two. Raises BlobMissing if `end` is
        past the end of the file.
        """
        end = self.size if end is None else end
        if not 0 <= offset <= end <= self.size:
            raise BlobMissing(
                f"stored file {self._prefix} has {self.size} bytes, {offset}..{end} asked for",
                key=self._prefix,
            )
        ahead: asyncio.Task[bytes] | None = None
        try:
            for span in self._spans(offset, end, chunk_bytes):
                if ahead is None:
                    ahead = asyncio.create_task(self._store.get_range(*span))
                    continue
                chunk = await ahead
                ahead = asyncio.create_task(self._store.get_range(*span))
                yield chunk
            if ahead is not None:
                yield await ahead
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    def _spans(self, offset: int, end: int, longest: int) -> Iterator[tuple[str, int, int]]:
        """Cut offset..end at segment borders into (key, start in segment, length)."""
        number = bisect_right(self._starts, offset) - 1
        while offset < end:
            start = self._starts[number]
            number += 1
            border = self._starts[number] if number < len(self._starts) else self.size
            key = segment_key(self._prefix, start)
            stop = min(end, border)
            while offset < stop:
                length = min(longest, stop - offset)
                yield key, offset - start, length
                offset += length

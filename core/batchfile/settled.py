"""When each line of a batch's results was settled, so that partial downloads never repeat one.

    {results prefix}/settled    a u32 for each line, in the order of the index beside it

It is the revision that the batch had when the line got its outcome. Shards tell it while the batch
runs; this file does once it has ended, and nothing of its shards is kept any more.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from core.batchfile.index import INDEX_SEGMENT_BYTES
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint

AT_END = 2**32 - 1
"""In the place of a revision: not before the batch had ended."""
FROM_START = 1
"""Of lines that were bad from the start: the revision of a new batch."""
_BYTES = 4
_BUFFER_BYTES = 64 * 1024


def _little(revisions: array[int]) -> bytes:
    if sys.byteorder == "big":
        revisions.byteswap()
    return revisions.tobytes()


class SettledWriter:
    """Writes the revisions of a batch's result lines, in the order of the lines."""

    def __init__(self, store: BlobStore, prefix: str, *, point: Failpoint) -> None:
        self._writer = SegmentWriter(
            store,
            f"{prefix}/settled",
            point=point,
            segment_bytes=INDEX_SEGMENT_BYTES,
            overwrite=True,
        )
        self._buffer = bytearray()

    async def add(self, revisions: array[int]) -> None:
        """Add those of the next lines: an array of "I"."""
        self._buffer += _little(revisions)
        if len(self._buffer) >= _BUFFER_BYTES:
            await self._flush()

    async def copy(self, store: BlobStore, prefix: str) -> None:
        """Add all that another result file has."""
        file = await StoredFile.open(store, f"{prefix}/settled")
        async for chunk in file.stream():
            await self._writer.write(chunk)

    async def close(self) -> None:
        """Make it durable."""
        await self._flush()
        await self._writer.close()

    async def _flush(self) -> None:
        buffer, self._buffer = bytes(self._buffer), bytearray()
        await self._writer.write(buffer)


@dataclass(frozen=True, slots=True)
class SettledBetween:
    """Picks the lines of a result file that were settled in some span of revisions."""

    file: StoredFile
    after: int
    """Revisions up to this one are left out."""
    until: int
    """And those above this one."""

    @classmethod
    async def open(cls, store: BlobStore, prefix: str, after: int, until: int) -> SettledBetween:
        """Of the results under a prefix."""
        return cls(await StoredFile.open(store, f"{prefix}/settled"), after, until)

    async def picked(self, first: int, count: int) -> Sequence[bool]:
        """For each of `count` records from number `first` on, whether it is one of them."""
        if not self.file.size:
            # Of results from before this was kept: nobody had a part of them earlier.
            return [self.until == AT_END] * count
        revisions = array("I", await self.file.read(first * _BYTES, count * _BYTES))
        if sys.byteorder == "big":
            revisions.byteswap()
        after, until = self.after, self.until
        return [after < revision <= until for revision in revisions]

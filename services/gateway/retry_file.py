"""The input of a retry: a file that the gateway makes of lines of another.

The lines keep their bytes, and in the index the numbers that they have in the file that was
uploaded: whatever tells of a line later names one that its owner knows. What the lines ask for is
added up on the way, as an upload does it.
"""

from __future__ import annotations

import asyncio
import hashlib

from core.batchfile import (
    INDEX,
    INDEX_SEGMENT_BYTES,
    LENIENT,
    Group,
    MediaReader,
    Totals,
    encode_totals,
)
from core.batchfile.index import MEDIA, Tally
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint
from core.ledger import File, FileState, new_id, now
from services.gateway.file_totals import add_totals
from services.gateway.retry_lines import Taken


class RetryFile:
    """Writes one, for one task. What is not finished is discarded as an upload."""

    def __init__(
        self, blobs: BlobStore, source: File, upload_id: str, *, segment_bytes: int
    ) -> None:
        """`source`: the file that the lines are copied from."""
        self._blobs = blobs
        self._source = source
        self._file = File(
            id=new_id("file"),
            account_id=source.account_id,
            upload_id=upload_id,
            filename=source.filename,
            state=FileState.READY,
            endpoint=source.endpoint,
            source_file_id=source.source_file_id or source.id,
            created_at=now(),
        )
        self._data = self._writer("data", segment_bytes)
        self._index = self._writer("index", min(segment_bytes, INDEX_SEGMENT_BYTES))
        self._media_writer: SegmentWriter | None = None
        self._media: MediaReader | None = None
        self._digest = hashlib.sha256()
        self._totals = Totals()
        self._groups: dict[int, int] = {}
        """Positions in the source's list of groups, to those in this file's."""
        self._tally = Tally(())
        self._offset = 0
        self._lines = 0

    async def open(self) -> None:
        """To be called first."""
        media = await StoredFile.open(self._blobs, f"{self._source.prefix}/media")
        if media.size:
            self._media = MediaReader(media)
            self._media_writer = self._writer("media", INDEX_SEGMENT_BYTES)
        groups = self._source.groups
        self._tally = Tally([Group(group["provider"], group["model"], 0, 0) for group in groups])

    def size_with(self, lines: Taken) -> int:
        """Bytes of the file with these lines at its end."""
        return self._offset + sum(len(raw) + 1 for _, raw in lines)

    async def take(self, lines: Taken) -> None:
        """Add lines of the source. Raises BlobUnavailable."""
        # Not on the loop: a group may hold megabytes of images.
        data, index = await asyncio.to_thread(self._prepare, lines)
        await self._data.write(data)
        await self._index.write(index)
        if self._media is not None and self._media_writer is not None:
            numbers = {record[2] for record, _ in lines}
            weights = await self._media.until(lines[-1][0][2], numbers)
            await self._media_writer.write(
                b"".join(MEDIA.pack(line, *weight) for line, weight in sorted(weights.items()))
            )

    async def finish(self) -> File | None:
        """Make all of it durable; the row of the file, not yet recorded. None: it has no line."""
        if not self._lines:
            return None
        for writer in (self._data, self._index, self._media_writer):
            if writer is not None:
                await writer.close()
        file = self._file
        await self._blobs.put(
            f"{file.prefix}/totals",
            encode_totals(self._totals.sums()),
            point=Failpoint.RETRY_FILE,
        )
        lenient = self._tally.lenient_count
        file.state = FileState.INVALID if lenient else FileState.READY
        file.bytes = self._offset
        file.sha256 = self._digest.hexdigest()
        file.line_count = self._lines
        file.invalid_line_count = file.lenient_line_count = lenient
        counted = self._tally.groups
        file.groups = [
            {
                "provider": group.provider,
                "model": group.model,
                "lines": group.lines,
                "bytes": group.bytes,
                "lenient_lines": group.lenient_lines,
            }
            for group in (counted[number] for number in self._groups)
        ]
        return file

    async def abandon(self) -> None:
        """Stop writing; what was written is to be discarded."""
        for writer in (self._data, self._index, self._media_writer):
            if writer is not None:
                await writer.abandon()

    def _prepare(self, lines: Taken) -> tuple[bytes, bytes]:
        index = bytearray()
        add_totals(self._totals, self._source, lines, self._groups)
        for (_, length, line, group, flags), raw in lines:
            index += INDEX.pack(self._offset, length, line, self._groups[group], flags)
            self._tally.add(group, length, flags & LENIENT)
            self._offset += len(raw) + 1
        self._lines += len(lines)
        data = b"\n".join([*(raw for _, raw in lines), b""])
        self._digest.update(data)
        return data, bytes(index)

    def _writer(self, name: str, segment_bytes: int) -> SegmentWriter:
        return SegmentWriter(
            self._blobs,
            f"{self._file.prefix}/{name}",
            point=Failpoint.RETRY_FILE,
            segment_bytes=segment_bytes,
        )

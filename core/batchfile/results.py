"""Result lines, stored in line order with an index beside them.

`{prefix}/data` holds JSONL, `{prefix}/index` one record of 20 bytes a line:
offset u64 | length u32 (with newline) | line u32 | outcome u8 (as LineOutcome) | pad.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from enum import IntEnum
from itertools import compress
from typing import NamedTuple, TypeAlias

import msgspec

from core.batchfile.index import INDEX_SEGMENT_BYTES, stream_records
from core.batchfile.line_reader import SPAN_BYTES, first_beyond, read_records
from core.batchfile.settled import SettledBetween
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint

RESULT = struct.Struct("<QIIB3x")
_BUFFER_BYTES = 256 * 1024


class LineOutcome(IntEnum):
    """What became of a line. Those that did not succeed are counted apart by why."""

    FAILED = 0
    SUCCEEDED = 1
    CANCELLED = 2
    EXPIRED = 3

    @classmethod
    def of_code(cls, code: str) -> LineOutcome:
        """That of a line whose error has this code."""
        return _STOPPED.get(code, cls.FAILED)


_STOPPED = {"batch_cancelled": LineOutcome.CANCELLED, "batch_expired": LineOutcome.EXPIRED}
_SUCCEEDED = LineOutcome.SUCCEEDED.value


class ResultLine(NamedTuple):
    """One line of the results."""

    number: int
    """Of the record, 0-based: where to go on."""
    line: int
    """Of the input, 1-based."""
    outcome: int
    """As LineOutcome."""
    raw: bytes
    """JSON with its newline."""

    @property
    def succeeded(self) -> bool:
        """Whether it has an answer that is no error."""
        return self.outcome == LineOutcome.SUCCEEDED


Entry: TypeAlias = tuple[int, int, bytes]
"""A result line: number of the input line, its LineOutcome, JSON with its newline."""


class ResultTotals(msgspec.Struct, frozen=True):
    """What was written. Bytes with newlines."""

    bytes: int
    sha256: str
    """Of the data, lowercase hexadecimal."""
    succeeded: int
    failed: int
    """All that did not succeed."""
    cancelled: int
    """Of these, lines that a cancel kept from being answered."""
    expired: int
    """The same of a completion window, the batch's or the provider's."""

    @property
    def lines(self) -> int:
        return self.succeeded + self.failed


class ResultWriter:
    """Writes the results of a shard or of a batch; what lies under the prefix is replaced."""

    def __init__(
        self,
        store: BlobStore,
        prefix: str,
        *,
        point: Failpoint,
        segment_bytes: int,
        digest: bool = True,
    ) -> None:
        """`digest`: False where nobody asks for the totals' sha256, which is empty then."""
        self._data = SegmentWriter(
            store, f"{prefix}/data", point=point, segment_bytes=segment_bytes, overwrite=True
        )
        self._index = SegmentWriter(
            store,
            f"{prefix}/index",
            point=point,
            segment_bytes=min(segment_bytes, INDEX_SEGMENT_BYTES),
            overwrite=True,
        )
        self._digest = hashlib.sha256() if digest else None
        self._buffer: list[bytes] = []
        self._records = bytearray()
        self._offset = 0
        self._flushed = 0
        self._last_line = 0
        self._lines = [0] * len(LineOutcome)

    async def append(self, line: int, raw: bytes, *, succeeded: bool) -> None:
        """Add one line: JSON without newlines. As `extend`."""
        await self.extend(((line, int(succeeded), raw + b"\n"),))

    async def extend(self, lines: Iterable[Entry]) -> None:
        """Add lines; their numbers must rise.

        Raises ValueError for a line out of order, and as SegmentWriter.write.
        """
        last, offset = self._last_line, self._offset
        pack, records, keep = RESULT.pack, self._records, self._buffer.append
        counts = self._lines
        for line, outcome, raw in lines:
            if line <= last:
                raise ValueError(f"result of line {line} after that of line {last}")
            last = line
            length = len(raw)
            records += pack(offset, length, line, outcome)
            offset += length
            counts[outcome] += 1
            keep(raw)
        self._last_line, self._offset = last, offset
        if offset - self._flushed >= _BUFFER_BYTES:
            await self._flush()

    async def close(self) -> ResultTotals:
        """Commit the rest."""
        await self._flush()
        size = await self._data.close()
        await self._index.close()
        return ResultTotals(
            bytes=size,
            sha256=self._digest.hexdigest() if self._digest else "",
            succeeded=self._lines[_SUCCEEDED],
            failed=sum(self._lines) - self._lines[_SUCCEEDED],
            cancelled=self._lines[LineOutcome.CANCELLED],
            expired=self._lines[LineOutcome.EXPIRED],
        )

    async def abandon(self) -> None:
        """Stop writing; what was committed is replaced by the next writer."""
        await self._data.abandon()
        await self._index.abandon()

    async def _flush(self) -> None:
        data, records = b"".join(self._buffer), bytes(self._records)
        self._buffer.clear()
        self._records.clear()
        self._flushed = self._offset
        if self._digest:
            self._digest.update(data)
        await self._data.write(data)
        await self._index.write(records)


class ResultFile:
    """Reads stored results: in order, from a record on, or only those that succeeded or not."""

    def __init__(self, data: StoredFile, index: StoredFile) -> None:
        self._data = data
        self._index = index

    @classmethod
    async def open(cls, store: BlobStore, prefix: str) -> ResultFile:
        """Open what a ResultWriter closed."""
        return cls(
            await StoredFile.open(store, f"{prefix}/data"),
            await StoredFile.open(store, f"{prefix}/index"),
        )

    @property
    def line_count(self) -> int:
        return self._index.size // RESULT.size

    @property
    def size(self) -> int:
        """Bytes of the data."""
        return self._data.size

    async def beyond(self, line: int) -> int:
        """Number of the first record of a line with a higher number; a few small reads."""
        if not line:
            return 0

        async def line_at(number: int) -> int:
            found: int = RESULT.unpack(await self._index.read(number * RESULT.size, RESULT.size))[2]
            return found

        return await first_beyond(line_at, self.line_count, line)

    async def numbered(self, *, succeeded: bool) -> AsyncGenerator[list[tuple[int, int]], None]:
        """Yield (number of the record, number of its line) of one outcome; reads the index."""
        number = 0
        async with aclosing(stream_records(self._index, RESULT.size)) as chunks:
            async for chunk in chunks:
                yield [(at, line) for _, _, line, _, at in _numbered(chunk, number, succeeded)]
                number += len(chunk) // RESULT.size

    async def last_line(self) -> int:
        """Number of the last line; 0 where there is none."""
        if not self.line_count:
            return 0
        record = await self._index.read(self._index.size - RESULT.size, RESULT.size)
        last: int = RESULT.unpack(record)[2]
        return last

    async def count(self, settled: SettledBetween, succeeded: bool | None) -> int:
        """How many lines were settled in a span of revisions; reads the index."""
        number = count = 0
        async for chunk in stream_records(self._index, RESULT.size):
            picked = await settled.picked(number, len(chunk) // RESULT.size)
            count += sum(1 for _ in _numbered(chunk, number, succeeded, picked))
            number += len(picked)
        return count

    async def totals(self, *, succeeded: bool) -> tuple[int, int]:
        """(bytes, lines) of one outcome; reads the index, about 1 s for 5 million lines."""
        total = lines = 0
        async for chunk in stream_records(self._index, RESULT.size):
            for _, length, _, outcome in RESULT.iter_unpack(chunk):
                if (outcome == _SUCCEEDED) == succeeded:
                    total += length
                    lines += 1
        return total, lines

    async def lines(
        self,
        first: int = 0,
        *,
        succeeded: bool | None = None,
        span_bytes: int = SPAN_BYTES,
        settled: SettledBetween | None = None,
    ) -> AsyncGenerator[list[ResultLine], None]:
        """Yield groups of lines from record number `first` on.

        `succeeded`: only lines of this outcome; `settled`: only those that it picks. Memory: two
        reads of `span_bytes` (or of one line where that is longer) and as much of the index.
        """
        number = first
        at_once = max(1, span_bytes // RESULT.size)
        async with aclosing(
            stream_records(self._index, RESULT.size, first=first, at_once=at_once)
        ) as chunks:
            async for chunk in chunks:
                count = len(chunk) // RESULT.size
                picked = await settled.picked(number, count) if settled else None
                wanted = _numbered(chunk, number, succeeded, picked)
                number += count
                async with aclosing(
                    read_records(self._data, wanted, span_bytes=span_bytes)
                ) as groups:
                    async for group in groups:
                        yield [
                            ResultLine(record[4], record[2], record[3], raw)
                            for record, raw in group
                        ]

    async def entries(
        self, first: int = 0, *, span_bytes: int = SPAN_BYTES
    ) -> AsyncGenerator[list[Entry], None]:
        """Yield groups of all lines from record number `first` on, for less than `lines` takes.

        Memory as there.
        """
        at_once = max(1, span_bytes // RESULT.size)
        async with aclosing(
            stream_records(self._index, RESULT.size, first=first, at_once=at_once)
        ) as chunks:
            async for chunk in chunks:
                found = read_records(self._data, RESULT.iter_unpack(chunk), span_bytes=span_bytes)
                async with aclosing(found) as groups:
                    async for group in groups:
                        yield [(record[2], record[3], raw) for record, raw in group]

    async def stream(
        self, offset: int = 0, *, succeeded: bool | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncGenerator[bytes, None]:
        """Yield the data from an offset on, in chunks of `chunk_bytes` at most.

        `succeeded`: only lines of this outcome; `offset` then counts their bytes only.
        An offset past the end gives nothing.
        """
        if succeeded is None:
            start = min(offset, self.size)
            async with aclosing(self._data.stream(start, chunk_bytes=chunk_bytes)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        first, skip = await self._find(offset, succeeded)
        async with aclosing(
            self.lines(first, succeeded=succeeded, span_bytes=chunk_bytes)
        ) as groups:
            async for group in groups:
                joined = b"".join([line.raw for line in group])
                for start in range(skip, len(joined), chunk_bytes):
                    yield joined[start : start + chunk_bytes]
                skip = 0

    async def _find(self, offset: int, succeeded: bool) -> tuple[int, int]:
        """Record that holds a byte of the filtered stream, and the byte's place in it."""
        end = number = 0
        async with aclosing(stream_records(self._index, RESULT.size)) as chunks:
            async for chunk in chunks:
                for _, length, _, outcome in RESULT.iter_unpack(chunk):
                    if (outcome == _SUCCEEDED) == succeeded:
                        end += length
                        if end > offset:
                            return number, offset - (end - length)
                    number += 1
        return number, 0


def _numbered(
    chunk: bytes, number: int, succeeded: bool | None, picked: Sequence[bool] | None = None
) -> Iterator[tuple[int, int, int, int, int]]:
    records = enumerate(RESULT.iter_unpack(chunk), number)
    for at, (offset, length, line, outcome) in compress(records, picked) if picked else records:
        if succeeded is None or (outcome == _SUCCEEDED) == succeeded:
            yield offset, length, line, outcome, at

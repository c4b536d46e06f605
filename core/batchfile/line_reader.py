"""Reading the lines that an index names: few large reads, constant memory."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from operator import itemgetter
from typing import NamedTuple, TypeVar

from core.batchfile.index import INDEX
from core.blobs import BlobStore, StoredFile

SPAN_BYTES = 512 * 1024
_MAX_GAP = 64 * 1024
_MAX_RECORDS = 16_384
# Read as one if so much of it is wanted, whatever lies between.
_DENSE = 0.25
_length = itemgetter(1)

Record = TypeVar("Record", bound=tuple[int, ...])


async def read_lines(
    file: StoredFile, records: bytes, *, span_bytes: int = SPAN_BYTES
) -> AsyncGenerator[list[tuple[int, bytes]], None]:
    """Yield groups of (line number, raw line) for index records in ascending order.

    Memory: two reads of `span_bytes`, or of one line where that is longer.
    Raises BlobMissing where the file is shorter than the index says.
    """
    async with aclosing(
        read_records(file, INDEX.iter_unpack(records), span_bytes=span_bytes)
    ) as groups:
        async for group in groups:
            yield [(record[2], raw) for record, raw in group]


class Listed(NamedTuple):
    """The lines of a list, in order: 6 bytes each."""

    lines: array[int]
    """Their numbers."""
    groups: array[int]
    """The positions of their models in the file's list of groups."""


async def listed_lines(store: BlobStore, key: str, count: int) -> Listed:
    """The lines of a stored list of `count` index records. Raises BlobMissing."""
    lines, groups = array("I"), array("H")
    async for records in _parts(store, key, count):
        lines.extend(line for _, _, line, _, _ in INDEX.iter_unpack(records))
        groups.extend(group for _, _, _, group, _ in INDEX.iter_unpack(records))
    return Listed(lines, groups)


async def first_beyond(line_at: Callable[[int], Awaitable[int]], count: int, line: int) -> int:
    """Of `count` records with rising line numbers, the first with a higher one than `line`.

    `line_at`: reads the line number of one record.
    """
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if await line_at(middle) > line:
            high = middle
        else:
            low = middle + 1
    return low


async def list_beyond(store: BlobStore, key: str, count: int, line: int) -> int:
    """The same of a stored list of index records. Raises BlobMissing."""
    if not line:
        return 0

    async def line_at(number: int) -> int:
        found: int = INDEX.unpack(await store.get_range(key, number * INDEX.size, INDEX.size))[2]
        return found

    return await first_beyond(line_at, count, line)


async def read_listed(
    file: StoredFile, store: BlobStore, key: str, count: int, *, first: int = 0
) -> AsyncGenerator[list[tuple[tuple[int, ...], bytes]], None]:
    """Yield groups of (index record, raw line) for a stored list of `count` index records.

    `first`: number of the record to begin with. Memory as read_lines, and a part of the list.
    Raises BlobMissing.
    """
    async for records in _parts(store, key, count, first):
        async with aclosing(read_records(file, INDEX.iter_unpack(records))) as groups:
            async for group in groups:
                yield group


async def read_records(
    file: StoredFile, records: Iterable[Record], *, span_bytes: int = SPAN_BYTES
) -> AsyncGenerator[list[tuple[Record, bytes]], None]:
    """Yield groups of (record, its bytes) for ascending (offset, length, ...) records.

    Neighbours are read together, small gaps too. One read goes ahead of the consumer.
    """
    ahead: tuple[list[Record], asyncio.Task[bytes]] | None = None
    try:
        for span in _spans(records, span_bytes):
            start = span[0][0]
            length = span[-1][0] + span[-1][1] - start
            reading = asyncio.create_task(file.read(start, length))
            previous, ahead = ahead, (span, reading)
            if previous is not None:
                yield _cut(previous[0], await previous[1])
        if ahead is not None:
            yield _cut(ahead[0], await ahead[1])
    finally:
        if ahead is not None:
            ahead[1].cancel()
            await asyncio.gather(ahead[1], return_exceptions=True)


async def _parts(
    store: BlobStore, key: str, count: int, begin: int = 0
) -> AsyncGenerator[bytes, None]:
    # A shard's list may have 2 MB, and several shards are worked on at a time.
    for first in range(begin, count, _MAX_RECORDS):
        part = min(_MAX_RECORDS, count - first)
        yield await store.get_range(key, first * INDEX.size, part * INDEX.size)


def _cut(span: list[Record], contents: bytes) -> list[tuple[Record, bytes]]:
    start = span[0][0]
    return [(record, contents[(at := record[0] - start) : at + record[1]]) for record in span]


def _spans(records: Iterable[Record], span_bytes: int) -> Iterator[list[Record]]:
    left = iter(records)
    while some := list(islice(left, _MAX_RECORDS)):
        begin = 0
        while begin < len(some):
            start = some[begin][0]
            end = max(bisect_right(some, start + span_bytes, begin, key=_end_of), begin + 1)
            span = some[begin:end]
            if sum(map(_length, span)) >= _DENSE * (_end_of(span[-1]) - start):
                yield span
            else:
                yield from _without_gaps(span)
            begin = end


def _end_of(record: tuple[int, ...]) -> int:
    return record[0] + record[1]


def _without_gaps(records: Sequence[Record]) -> Iterator[list[Record]]:
    span: list[Record] = []
    end = records[0][0]
    for record in records:
        if record[0] - end > _MAX_GAP:
            yield span
            span = []
        span.append(record)
        end = _end_of(record)
    yield span

"""The line index beside a file: where each line lies and which model it is for.

One record of 20 bytes for each line that is not blank, in order:
offset u64 | length u32 (without newline and CR) | line u32 (1-based, blank lines
counted) | group u16 (position in the file's list of groups) | flags u8 | pad.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Container, Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from core.blobs import StoredFile

INDEX = struct.Struct("<QIIHBx")
MEDIA = struct.Struct("<III")
"""Beside the index, for each line with images, recordings or files, in order: line u32, bytes of
their data in base64 u32, tokens that they come to u32."""
INVALID = 1
"""Flag of a line that cannot be sent."""
LENIENT = 2
"""Flag of a line that is sent only where the batch is lenient. Beside INVALID it says nothing."""
NO_GROUP = 0xFFFF
"""Group of an invalid line whose provider or model cannot be told."""
MAX_GROUPS = 4096
RECORDS_AT_ONCE = 16_384
INDEX_SEGMENT_BYTES = 512 * 1024
"""Indexes grow slowly beside their data: large segments would only sit in memory."""


class IndexRecord(NamedTuple):
    """Where one line lies. A line over the length limit has length 0."""

    offset: int
    length: int
    line: int
    group: int
    flags: int

    @property
    def valid(self) -> bool:
        """Whether every batch takes the line."""
        return not self.flags


class Group(msgspec.Struct, frozen=True):
    """The valid lines of a file that are for one model of one provider."""

    provider: str
    model: str
    """As named in the file, prefix and all."""
    lines: int
    bytes: int
    """Sum of the lines' lengths, newlines left out."""
    lenient_lines: int = 0
    """Lines beside these that only a lenient batch takes."""


def iter_index(records: bytes) -> Iterator[IndexRecord]:
    """Unpack index records. Raises struct.error if they are not whole."""
    return map(IndexRecord._make, INDEX.iter_unpack(records))


async def stream_records(
    file: StoredFile, record_size: int, *, first: int = 0, at_once: int = RECORDS_AT_ONCE
) -> AsyncGenerator[bytes, None]:
    """Yield the records of a stored index from number `first` on, whole ones only."""
    start = min(first * record_size, file.size)
    async with (
        aclosing(file.stream(start, chunk_bytes=at_once * record_size)) as chunks,
        aclosing(whole_records(chunks, record_size)) as records,
    ):
        async for found in records:
            yield found


async def whole_records(
    chunks: AsyncIterator[bytes], record_size: int
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of any chunks again, cut between records."""
    rest = b""
    async for chunk in chunks:
        found = rest + chunk if rest else chunk
        whole = len(found) - len(found) % record_size
        rest = found[whole:]
        if whole:
            yield found[:whole] if rest else found


class MediaWeight(NamedTuple):
    """What the images, recordings and files of a line weigh."""

    data_bytes: int
    """Of the line that are their base64, and no text."""
    tokens: int


class MediaReader:
    """Reads what the images, recordings and files of a file's lines weigh, line after line.

    A file that has none has no such list.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._at = 0

    async def until(self, last: int, only: Container[int] | None = None) -> dict[int, MediaWeight]:
        """By line number, those of the lines up to `last` that were not asked for before.

        `only`: the lines of which they are wanted; None: of all.
        """
        found: dict[int, MediaWeight] = {}
        size = self._file.size - self._file.size % MEDIA.size
        while self._at < size:
            count = min(size - self._at, RECORDS_AT_ONCE * MEDIA.size)
            records = await self._file.read(self._at, count)
            for line, *weight in MEDIA.iter_unpack(records):
                if line > last:
                    return found
                if only is None or line in only:
                    found[line] = MediaWeight(*weight)
                self._at += MEDIA.size
        return found


class Tally:
    """Counts of a file's lines, from its index."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._lines = [0] * len(groups)
        self._bytes = [0] * len(groups)
        self._lenient = [0] * len(groups)
        self._invalid = 0

    def add(self, group: int, length: int, flags: int) -> None:
        """Count one line."""
        if flags & INVALID:
            self._invalid += 1
        elif flags & LENIENT:
            self._lenient[group] += 1
        else:
            self._lines[group] += 1
            self._bytes[group] += length

    @property
    def invalid_count(self) -> int:
        """Lines that not every batch takes."""
        return self._invalid + self.lenient_count

    @property
    def lenient_count(self) -> int:
        """Of these, lines that a lenient batch takes."""
        return sum(self._lenient)

    @property
    def groups(self) -> list[Group]:
        """The groups as counted; one may have no line left."""
        counts = zip(self._groups, self._lines, self._bytes, self._lenient, strict=True)
        return [Group(group.provider, group.model, *each) for group, *each in counts]


async def mark_invalid(
    chunks: AsyncIterator[bytes], lines: Sequence[int], tally: Tally
) -> AsyncGenerator[bytes, None]:
    """Yield index chunks in which the given lines (ascending) carry the INVALID flag.

    `tally` counts what comes out.
    """
    at = 0
    for_next = lines[0] if lines else 0
    async for chunk in chunks:
        marked = bytearray(chunk)
        for number, (offset, length, line, group, flags) in enumerate(INDEX.iter_unpack(chunk)):
            if line == for_next:
                flags |= INVALID
                INDEX.pack_into(marked, number * INDEX.size, offset, length, line, group, flags)
                at += 1
                for_next = lines[at] if at < len(lines) else 0
            tally.add(group, length, flags)
        yield bytes(marked)

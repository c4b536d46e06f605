"""Cutting a stream of chunks into lines, in linear time and bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OversizedLine:
    """A line over the limit; its bytes were discarded."""

    size: int
    """Bytes up to the newline, which is not counted."""
    ends_in_cr: bool

    def __len__(self) -> int:
        return self.size


class LineSplitter:
    """Gives whole lines without their newline; keeps what belongs to a line not yet whole."""

    def __init__(self, max_size: int) -> None:
        """`max_size`: bytes a line may have before it is discarded."""
        self._max_size = max_size
        self._parts: list[bytes] = []
        self._size = 0
        self._ends_in_cr = False

    def keep(self, piece: bytes) -> None:
        """Take bytes without a newline."""
        if not piece:
            return
        self._size += len(piece)
        self._ends_in_cr = piece.endswith(b"\r")
        if self._size <= self._max_size:
            self._parts.append(piece)
        else:
            self._parts.clear()

    def split(self, chunk: bytes) -> Iterator[bytes | OversizedLine]:
        """Yield the lines that this chunk ends. To be exhausted before the next chunk.

        One at a time, as that is twice as fast as `bytes.split`: the memory of one
        line is used again for the next and stays in the processor's cache.
        """
        find = chunk.find
        start, end = 0, find(b"\n")
        if end >= 0 and self._size:
            self.keep(chunk[:end])
            yield self._take()
            start = end + 1
            end = find(b"\n", start)
        may_be_oversized = len(chunk) > self._max_size
        while end >= 0:
            yield self._checked(chunk[start:end]) if may_be_oversized else chunk[start:end]
            start = end + 1
            end = find(b"\n", start)
        self.keep(chunk[start:])

    def finish(self) -> bytes | OversizedLine | None:
        """The last line, where no newline ends it; None if there is none."""
        return self._take() if self._size else None

    def _take(self) -> bytes | OversizedLine:
        if self._size > self._max_size:
            line: bytes | OversizedLine = OversizedLine(self._size, self._ends_in_cr)
        else:
            line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line

    def _checked(self, line: bytes) -> bytes | OversizedLine:
        if len(line) > self._max_size:
            return OversizedLine(len(line), line.endswith(b"\r"))
        return line

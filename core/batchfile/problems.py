"""What can be wrong with a line, and the validation report that lists it.

A report is JSONL in line order, one problem a line:
{"line", "custom_id", "field", "reason", "message", "severity", "lenient"}. What many lines
are warned of is told once, on the first of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Literal

import msgspec

from core.blobs import StoredFile


class Problem(msgspec.Struct, frozen=True, gc=False):
    """One problem of one line. Holds names and short values, never a body's contents."""

    line: int
    """1-based number of the line in the file, blank lines counted; 0: the file as a whole."""
    custom_id: str
    """Empty where the line has none that can be read."""
    field: str
    """Path such as "body.messages[2]"; empty for the line as a whole."""
    reason: str
    """Machine code, such as "duplicate_custom_id"."""
    message: str
    """Human-readable: what is wrong and what was expected."""
    severity: Literal["error", "warning"] = "error"
    """A line with warnings only can be sent."""
    lenient: bool = False
    """Whether an error is one only for batches that are not lenient."""


_GROUP = 1000

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Problem)


def encode_report(problems: Sequence[Problem]) -> bytes:
    """Report lines, each with its newline."""
    return _encoder.encode_lines(problems)


async def read_report(file: StoredFile) -> AsyncGenerator[list[Problem], None]:
    """Yield the problems of a stored report in groups."""
    async with aclosing(file.stream()) as chunks, aclosing(decode_report(chunks)) as groups:
        async for group in groups:
            yield group


async def decode_report(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[Problem], None]:
    """Yield the problems of a report that comes in any chunks."""
    rest = b""
    async for chunk in chunks:
        whole, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            rest += chunk
            continue
        yield _decoder.decode_lines(rest + whole)
        rest = tail


async def merge_problems(
    first: AsyncIterator[Sequence[Problem]], second: AsyncIterator[Sequence[Problem]]
) -> AsyncGenerator[list[Problem], None]:
    """Merge two streams in line order; for one line, those of `first` come first."""
    left = _Head(first)
    right = _Head(second)
    merged: list[Problem] = []
    while await left.fill() and await right.fill():
        if left.line <= right.line:
            merged += left.take(up_to=right.line)
        else:
            merged += right.take(up_to=left.line - 1)
        if len(merged) >= _GROUP:
            yield merged
            merged = []
    yield merged
    for head in (left, right):
        while await head.fill():
            yield head.take()


class _Head:
    """The group at the head of a stream, and how far it is taken."""

    def __init__(self, groups: AsyncIterator[Sequence[Problem]]) -> None:
        self._groups = groups
        self._group: Sequence[Problem] = ()
        self._at = 0

    @property
    def line(self) -> int:
        return self._group[self._at].line

    async def fill(self) -> bool:
        """Whether there is a problem left; goes on to the next group where needed."""
        while self._at == len(self._group):
            self._at = 0
            try:
                self._group = await anext(self._groups)
            except StopAsyncIteration:
                self._group = ()
                return False
        return True

    def take(self, *, up_to: int | None = None) -> list[Problem]:
        """Take from the group what belongs to lines up to the given one."""
        start = self._at
        while self._at < len(self._group) and (up_to is None or self.line <= up_to):
            self._at += 1
        return list(self._group[start : self._at])

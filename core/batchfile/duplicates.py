"""Finding custom ids that a file uses twice, in 12 bytes a line.

Ids are kept as 64-bit fingerprints (Python's keyed string hash: nobody can make two
ids collide on purpose; by chance two do in one of a million files of 5 million lines).
Those of a large file are dealt into partitions by their low bits while lines come in; at
the end one partition after another is looked through, so that only a small set is ever built.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from struct import Struct

from core.batchfile.index import INDEX, stream_records
from core.batchfile.line_reader import read_lines
from core.batchfile.problems import Problem
from core.batchfile.schema import NAMES, custom_id_of, kind_of
from core.blobs import StoredFile

_PARTITIONS = 256
_MASK = _PARTITIONS - 1
_KEPT_IN_ORDER = 65_536
_RECORDS_AT_ONCE = 4096
_BLOCK_BITS = 16
_SEEN = Struct("<qI")
_pack = _SEEN.pack


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Lines whose custom id an earlier line has, ascending, beside the first such lines."""

    lines: array[int] = field(default_factory=lambda: array("I"))
    firsts: array[int] = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self.lines)


class SeenIds:
    """The fingerprints of all custom ids of one file."""

    def __init__(self) -> None:
        # In order, which is the fastest way to keep them: most files have no more of them.
        self._fingerprints = array("q")
        self._lines = array("I")
        self.take_hash = self._fingerprints.append
        """The first half of `add`, of an id's hash, for whom a call for each line is too much."""
        self.take_line = self._lines.append
        # Bytes, as packing both numbers at once is the fastest way to deal them.
        self._partitions: list[bytearray] = []

    def add(self, line: int, custom_id: str) -> None:
        """Take in an id; lines come in ascending order."""
        self._fingerprints.append(hash(custom_id))
        self._lines.append(line)

    def deal(self) -> None:
        """To be called every few thousand ids."""
        if len(self._lines) >= _KEPT_IN_ORDER:
            self._deal()

    def duplicates(self) -> Duplicates:
        """Second and later occurrences; to be asked once, as it lets the fingerprints go.

        Takes about 0.2 s for a million lines.
        """
        # A line and its first one in one integer: 8 bytes, and they sort by line. In
        # blocks of lines, as sorting all at once would make an object of each.
        blocks: defaultdict[int, array[int]] = defaultdict(lambda: array("Q"))
        if not self._partitions and len(set(self._fingerprints)) == len(self._lines):
            return Duplicates()
        self._deal()
        while self._partitions:
            partition = self._partitions.pop()
            fingerprints = {fingerprint for fingerprint, _ in _SEEN.iter_unpack(partition)}
            if len(fingerprints) * _SEEN.size == len(partition):
                continue
            first: dict[int, int] = {}
            for fingerprint, line in _SEEN.iter_unpack(partition):
                known = first.setdefault(fingerprint, line)
                if known != line:
                    blocks[line >> _BLOCK_BITS].append(line << 32 | known)
        found = Duplicates()
        for number in sorted(blocks):
            for both in sorted(blocks.pop(number)):
                found.lines.append(both >> 32)
                found.firsts.append(both & 0xFFFF_FFFF)
        return found

    def _deal(self) -> None:
        partitions = self._partitions = self._partitions or [
            bytearray() for _ in range(_PARTITIONS)
        ]
        for fingerprint, line in zip(self._fingerprints, self._lines, strict=True):
            partitions[fingerprint & _MASK] += _pack(fingerprint, line)
        del self._fingerprints[:], self._lines[:]


async def duplicate_problems(
    data: StoredFile, index: StoredFile, duplicates: Duplicates
) -> AsyncGenerator[list[Problem], None]:
    """Yield a problem for each duplicate, in line order; reads these lines for their ids."""
    at = 0
    async for chunk in stream_records(index, INDEX.size, at_once=_RECORDS_AT_ONCE):
        wanted = bytearray()
        firsts: list[int] = []
        for number, record in enumerate(INDEX.iter_unpack(chunk)):
            if at == len(duplicates):
                break
            if record[2] == duplicates.lines[at]:
                wanted += chunk[number * INDEX.size : (number + 1) * INDEX.size]
                firsts.append(duplicates.firsts[at])
                at += 1
        first = iter(firsts)
        async with aclosing(read_lines(data, bytes(wanted))) as groups:
            async for group in groups:
                yield [_duplicate(line, raw, next(first)) for line, raw in group]
        if at == len(duplicates):
            return


def _duplicate(line: int, raw: bytes, first: int) -> Problem:
    name = NAMES[kind_of(raw)].custom_id
    return Problem(
        line,
        custom_id_of(raw),
        name,
        "duplicate_custom_id",
        f"the {name} was used first in line {first}; expected one that is unique in the file",
    )

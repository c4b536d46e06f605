"""What lines have cost before they were sent again, so that the lines add up to their batch.

    {results prefix}/earlier    records of 12 bytes, by rising line: line u32 | cost i64

In: the lines of a shard that are sent again although the provider counted tokens for them, which
few are. Out: that cost on the result line that each of them gets in the end, wherever it comes
from: an answer, a cancel, the end of the window.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from core.batchfile import INDEX_SEGMENT_BYTES, Entry, add_cost
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint
from core.ledger import Shard

_RECORD = struct.Struct("<Iq")
_UNPRICED = -1
_READ_BYTES = _RECORD.size * 16_384


class EarlierCostsWriter:
    """Writes what the lines of a shard have cost that are sent again; nothing for most shards."""

    def __init__(self, blobs: BlobStore, prefix: str) -> None:
        self._blobs = blobs
        self._prefix = f"{prefix}/earlier"
        self._writer: SegmentWriter | None = None

    async def add(self, line: int, nanos: int | None) -> None:
        """Lines have to rise. `nanos`: nano-dollars; None: unpriced."""
        if self._writer is None:
            self._writer = SegmentWriter(
                self._blobs,
                self._prefix,
                point=Failpoint.SHARD_RESULTS,
                segment_bytes=INDEX_SEGMENT_BYTES,
                overwrite=True,
            )
        await self._writer.write(_RECORD.pack(line, _UNPRICED if nanos is None else nanos))

    async def close(self) -> None:
        """Make it durable."""
        if self._writer is not None:
            await self._writer.close()


@dataclass(slots=True)
class _List:
    lines: array[int]
    costs: array[int]
    next: int = 0


class EarlierCosts:
    """Those of all shards of a batch: 12 bytes for each such line."""

    def __init__(self, lists: Sequence[_List]) -> None:
        self._lists = lists

    @classmethod
    async def of(cls, blobs: BlobStore, shards: Sequence[Shard]) -> EarlierCosts:
        """Read what the settled shards of a batch have kept. Raises BlobUnavailable."""
        found = []
        for shard in shards:
            if not (shard.retried and shard.results_prefix):
                continue
            each = _List(array("I"), array("q"))
            file = await StoredFile.open(blobs, f"{shard.results_prefix}/earlier")
            for at in range(0, file.size, _READ_BYTES):
                records = await file.read(at, min(_READ_BYTES, file.size - at))
                for line, cost in _RECORD.iter_unpack(records):
                    each.lines.append(line)
                    each.costs.append(cost)
            if each.lines:
                found.append(each)
        return cls(found)

    def add_to(self, lines: list[Entry]) -> list[Entry]:
        """Result lines with their earlier costs. In order, and each group behind the one before."""
        for each in self._lists:
            lines = _with(each, lines)
        return lines


def _with(earlier: _List, lines: list[Entry]) -> list[Entry]:
    due: dict[int, int] = {}
    last = lines[-1][0] if lines else 0
    while earlier.next < len(earlier.lines) and earlier.lines[earlier.next] <= last:
        due[earlier.lines[earlier.next]] = earlier.costs[earlier.next]
        earlier.next += 1
    if not due:
        return lines
    return [
        (line, outcome, _plus(raw, due[line])) if line in due else (line, outcome, raw)
        for line, outcome, raw in lines
    ]


def _plus(raw: bytes, cost: int) -> bytes:
    return add_cost(raw, None if cost == _UNPRICED else cost)

"""Result lines that take the answers of equal lines: spooled as they are found, written by line.

In: lines, and the result lines whose answers they take, in any order. Out: their own result lines,
which cost nothing. What can go wrong: no room for the spool file (OSError).
"""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_left
from contextlib import aclosing
from pathlib import Path
from types import TracebackType

from core.batchfile import (
    LineMaker,
    ResultTotals,
    ResultWriter,
    cost_of,
    decode_request,
    read_listed,
    reused_tail,
)
from core.blobs import BlobStore, StoredFile, require_headroom, write_whole
from core.ledger import Batch, File, Shard

_FLUSH_BYTES = 256 * 1024
_NONE = 0xFF


class BorrowedAnswers:
    """Answers for some lines; 25 bytes for each. The spool file has no name: it goes with the
    process."""

    def __init__(self, lines: array[int], folder: Path, *, reserve: int = 0) -> None:
        """`lines`: their numbers, ascending; `reserve`: bytes that stay free on the disk."""
        self._lines = lines
        self._folder, self._reserve = folder, reserve
        self._offsets = array("Q", bytes(8 * len(lines)))
        self._lengths = array("I", bytes(4 * len(lines)))
        self._saved = array("Q", bytes(8 * len(lines)))
        self._outcomes = bytearray([_NONE]) * len(lines)
        self._pending: list[bytes] = []
        self._pending_bytes = self._size = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._spool = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def __enter__(self) -> BorrowedAnswers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spool.close()

    def add(self, line: int, outcome: int, lent: bytes) -> None:
        """Let a line take the answer of a result line. Raises OSError."""
        position = bisect_left(self._lines, line)
        tail = reused_tail(lent)
        self._offsets[position], self._lengths[position] = self._size, len(tail)
        self._saved[position] = cost_of(lent) or 0
        self._outcomes[position] = outcome
        self._pending.append(tail)
        self._pending_bytes += len(tail)
        self._size += len(tail)
        if self._pending_bytes >= _FLUSH_BYTES:
            self._flush()

    async def write(
        self, shard: Shard, batch: Batch, file: File, blobs: BlobStore, writer: ResultWriter
    ) -> tuple[ResultTotals, int]:
        """Write the lines of a shard. Returns what was written, and the nano-dollars saved.

        Raises KeyError for a line that no answer was added for, and as read_listed.
        """
        self._flush()
        made = LineMaker(batch.id, [group["model"] for group in file.groups]).line
        saved = 0
        data = await StoredFile.open(blobs, f"{file.prefix}/data")
        listed = read_listed(data, blobs, shard.lines_key, shard.line_count)
        async with aclosing(listed) as groups:
            async for group in groups:
                entries = []
                for (_offset, _length, line, number, _flags), raw in group:
                    position = bisect_left(self._lines, line)
                    outcome = self._outcomes[position]
                    if outcome == _NONE:
                        raise KeyError(line)
                    saved += self._saved[position]
                    custom_id, tail = decode_request(raw).custom_id, self._tail(position)
                    entries.append((line, outcome, made(line, custom_id, number, tail, 0)))
                await writer.extend(entries)
        return await writer.close(), saved

    def has(self, line: int) -> bool:
        """Whether an answer was added for one of the lines."""
        return self._outcomes[bisect_left(self._lines, line)] != _NONE

    def _tail(self, position: int) -> bytes:
        length, offset = self._lengths[position], self._offsets[position]
        return os.pread(self._spool.fileno(), length, offset)

    def _flush(self) -> None:
        require_headroom(self._folder, self._pending_bytes, self._reserve)
        write_whole(self._spool, b"".join(self._pending))
        self._pending.clear()
        self._pending_bytes = 0

"""Sort a shard's result lines by input line, in constant memory.

In: result lines in any order. Out: for each input line its outcome, the bytes of its result, and
what it cost.
What can go wrong: lines that nobody asked for (counted, left out), lines that come twice (a success
wins), lines that never come (counted); no room for the spool file (raised).
"""

from __future__ import annotations

import os
import struct
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from core.batchfile import answer_tail
from core.blobs import require_headroom, write_whole
from core.ledger import ModelSpend
from core.prices.usage import NO_USAGE, Usage
from core.providers import Outcome, ResultLine, error_of
from services.collector.tally import Tally

_FLUSH_BYTES = 256 * 1024
_OUTCOMES = (None, *Outcome)
_NUMBERS = {outcome: number for number, outcome in enumerate(_OUTCOMES)}
_SUCCEEDED = _NUMBERS[Outcome.SUCCEEDED]
_ANSWERED = (_SUCCEEDED, _NUMBERS[Outcome.FAILED], _NUMBERS[Outcome.RETRYABLE])
# What an answer that may still be replaced has used lies behind its piece.
_USAGE = struct.Struct(f"<{len(Usage.__struct_fields__)}Q")
# A line that was never sent: its piece is the finished line, head and all.
_REJECTED = len(_OUTCOMES)
_SHOWN = (*_OUTCOMES, Outcome.FAILED)
_LINE_DIGITS = 10

Piece: TypeAlias = tuple[Outcome | None, bytes, bool, int | None]
"""A line's outcome (None: it has none), its tail, whether it was never sent (then the tail is the
finished line), and its cost in nano-dollars (None: unpriced)."""


class Sorter:
    """Spools the pieces of result lines as they come; gives them back by position.

    Holds 17 bytes for each line of the shard, and what the tally holds. Of several results for
    one line a success wins, or else the first; only that one counts. The spool file has no name,
    so that it goes with the process.
    """

    def __init__(
        self, lines: array[int], tally: Tally, folder: Path, *, attempts: int, reserve: int = 0
    ) -> None:
        """`lines`: the shard's line numbers, ascending; `tally`: counts what they cost.

        `attempts`: how often the lines were sent, this time included. `reserve`: bytes that
        stay free on the folder's disk. Methods that take results raise OSError.
        """
        self._folder, self._reserve = folder, reserve
        self._attempts = attempts
        self._lines = lines
        count = len(lines)
        self._offsets = array("Q", bytes(8 * count))
        self._lengths = array("I", bytes(4 * count))
        self._outcomes = bytearray(count)
        self._pending: list[bytes] = []
        self._size = self._flushed = 0
        self._spool = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._next = 0
        self._first = lines[0] if lines else 0
        self._places, self._span = count - 1, max(1, lines[-1] - lines[0] if lines else 1)
        self._tally = tally
        self.unknown = 0
        """Result lines that do not belong to the shard."""
        self.duplicates = 0
        """Result lines for a line that had one already."""

    def __enter__(self) -> Sorter:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._spool.close()

    def spend(self) -> list[ModelSpend]:
        """What the lines taken have used and cost, by model."""
        return self._tally.spend()

    def take(self, results: Sequence[ResultLine], prefix: str) -> None:
        """Take result lines whose custom id is `prefix` and the line number."""
        # Locals, as this loop runs once for each line; and what most are is stored together.
        skip, outcomes, attempts, find = len(prefix), self._outcomes, self._attempts, self._position
        succeeded: list[int] = []
        tails: list[bytes] = []
        usages: list[Usage] = []
        for result in results:
            custom_id = result.custom_id
            number = custom_id[skip:]
            ours = (
                custom_id.startswith(prefix)
                and len(number) <= _LINE_DIGITS
                and number.isascii()
                and number.isdigit()
            )
            position = find(int(number)) if ours else None
            if position is None:
                self.unknown += 1
            elif outcomes[position] or result.outcome is not Outcome.SUCCEEDED:
                self._take_other(position, result)
            else:
                outcomes[position] = _SUCCEEDED
                succeeded.append(position)
                tails.append(answer_tail(result.response, result.error, attempts))
                usages.append(result.usage)
        self._place(succeeded, tails)
        self._tally.add_answers(succeeded, usages)

    def _take_other(self, position: int, result: ResultLine) -> None:
        """Take a result that is no success, or not the line's first."""
        outcome, known = _NUMBERS[result.outcome], self._outcomes[position]
        if known:
            self.duplicates += 1
            if known == _SUCCEEDED or outcome != _SUCCEEDED:
                return
            if known in _ANSWERED:
                # One request has one bill: that of the answer that is kept.
                self._tally.take_back(position, self._used(position))
        error = result.error
        if outcome == _SUCCEEDED:
            self._store(position, outcome, answer_tail(result.response, error, self._attempts))
        else:
            error = error or error_of(result.response)
            tail = answer_tail(result.response, error, self._attempts)
            self._store(position, outcome, tail, result.usage)
        self._tally.add(position, result.usage, answered=outcome in _ANSWERED)

    def keep(self, position: int, outcome: Outcome, tail: bytes, usage: Usage) -> None:
        """Take the newest result of the line at a position; it replaces all but a success.

        What those before it have used counts as well: each was a call of its own.
        """
        known = self._outcomes[position]
        if known != _SUCCEEDED:
            self._store(position, _NUMBERS[outcome], tail)
            self._tally.add(position, usage, answered=not known)

    def reject(self, line: int, whole: bytes) -> None:
        """Take the finished result line of a request that was never sent."""
        position = self._position(line)
        if position is not None:
            self._store(position, _REJECTED, whole)

    def answer_rest(self, outcome: Outcome, error: bytes) -> None:
        """Give one error to all lines that have no result."""
        missing = [position for position, found in enumerate(self._outcomes) if not found]
        if not missing:
            return
        tail = answer_tail(None, error, self._attempts)
        self._store(missing[0], _NUMBERS[outcome], tail, NO_USAGE)
        for position in missing[1:]:
            self._outcomes[position] = _NUMBERS[outcome]
            self._offsets[position] = self._offsets[missing[0]]
            self._lengths[position] = self._lengths[missing[0]]

    def missing(self) -> int:
        """How many lines have no result."""
        return self._outcomes.count(0)

    def answered(self) -> int:
        """How many lines the provider has answered, well or ill."""
        return sum(self._outcomes.count(number) for number in _ANSWERED)

    def pieces(self, first: int, count: int) -> list[Piece]:
        """What became of `count` lines from a position of the line list on."""
        if self._pending:
            self._flush()
        spool, some = self._spool.fileno(), slice(first, first + count)
        return [
            (_SHOWN[number], os.pread(spool, length, offset), number == _REJECTED, cost)
            for number, length, offset, cost in zip(
                self._outcomes[some],
                self._lengths[some],
                self._offsets[some],
                self._tally.costs(first, count),
                strict=True,
            )
        ]

    def _position(self, line: int) -> int | None:
        # Mostly they come in order, or nearly; or they lie evenly in the file, as all of it do and
        # every other line.
        lines, position = self._lines, self._next
        if position >= len(lines) or lines[position] != line:
            position = (line - self._first) * self._places // self._span
            if not 0 <= position < len(lines) or lines[position] != line:
                position = bisect_left(lines, line)
                if position == len(lines) or lines[position] != line:
                    return None
        self._next = position + 1
        return position

    def _used(self, position: int) -> Usage:
        """What the answer of a line has used that is no success."""
        if self._pending:
            self._flush()
        at = self._offsets[position] + self._lengths[position]
        return Usage(*_USAGE.unpack(os.pread(self._spool.fileno(), _USAGE.size, at)))

    def _store(self, position: int, outcome: int, piece: bytes, usage: Usage | None = None) -> None:
        self._outcomes[position] = outcome
        self._place((position,), (piece,))
        if usage is not None:
            used = _USAGE.pack(*msgspec.structs.astuple(usage))
            self._size += len(used)
            self._pending.append(used)

    def _place(self, positions: Sequence[int], pieces: Sequence[bytes]) -> None:
        """Spool the pieces of lines whose outcome is noted."""
        offsets, lengths, size = self._offsets, self._lengths, self._size
        for position, piece in zip(positions, pieces, strict=True):
            offsets[position] = size
            lengths[position] = length = len(piece)
            size += length
        self._size = size
        self._pending += pieces
        if size - self._flushed >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        contents = b"".join(self._pending)
        require_headroom(self._folder, len(contents), self._reserve)
        self._pending = []
        self._flushed = self._size
        write_whole(self._spool, contents)

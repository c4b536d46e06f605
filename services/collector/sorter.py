"""Sort a shard's result lines by input line, in constant memory.

In: result lines in any order. Out: for each input line its outcome and the bytes of its result.
What can go wrong: lines that nobody asked for (counted, left out), lines that come twice (a success
wins), lines that never come (counted); no room for the spool file (raised).
"""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from core.batchfile import answer_tail
from core.blobs import require_headroom
from core.prices.usage import Usage
from core.providers import Outcome, ResultLine, error_of

_FLUSH_BYTES = 256 * 1024
_OUTCOMES = (None, *Outcome)
_NUMBERS = {outcome: number for number, outcome in enumerate(_OUTCOMES)}
_SUCCEEDED = _NUMBERS[Outcome.SUCCEEDED]
_ANSWERED = (_SUCCEEDED, _NUMBERS[Outcome.FAILED], _NUMBERS[Outcome.RETRYABLE])
# A line that was never sent: its piece is the finished line, head and all.
_REJECTED = len(_OUTCOMES)
_SHOWN = (*_OUTCOMES, Outcome.FAILED)
_LINE_DIGITS = 10

Piece: TypeAlias = tuple[Outcome | None, bytes, bool]
"""A line's outcome (None: it has none), its tail, and whether it was never sent: then the
tail is the finished line."""


class Sorter:
    """Spools the pieces of result lines as they come; gives them back by position.

    Holds 17 bytes for each line of the shard. Of several results for one line a success
    wins, or else the first. The spool file has no name, so that it goes with the process.
    """

    def __init__(self, lines: array[int], folder: Path, *, attempts: int, reserve: int = 0) -> None:
        """`lines`: the shard's line numbers, ascending.

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
        self._pending_bytes = 0
        self._size = 0
        self._spool = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._next = 0
        self._input = self._cached = self._output = self._reasoning = 0
        self.unknown = 0
        """Result lines that do not belong to the shard."""
        self.duplicates = 0
        """Result lines for a line that had one already."""

    def __enter__(self) -> Sorter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spool.close()

    @property
    def usage(self) -> Usage:
        """Tokens of all lines taken."""
        return Usage(
            input=self._input,
            cached_input=self._cached,
            output=self._output,
            reasoning=self._reasoning,
        )

    def take(self, results: Sequence[ResultLine], prefix: str) -> None:
        """Take result lines whose custom id is `prefix` and the line number."""
        # Locals, as this loop runs once for each line.
        skip, outcomes, attempts = len(prefix), self._outcomes, self._attempts
        find, store, count = self._position, self._store, self._count
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
                continue
            outcome = _NUMBERS[result.outcome]
            known = outcomes[position]
            if known:
                self.duplicates += 1
                if known == _SUCCEEDED or outcome != _SUCCEEDED:
                    continue
            error = result.error
            if outcome != _SUCCEEDED and error is None:
                error = error_of(result.response)
            store(position, outcome, answer_tail(result.response, error, attempts))
            count(result.usage)

    def keep(self, position: int, outcome: Outcome, tail: bytes, usage: Usage) -> None:
        """Take the newest result of the line at a position; it replaces all but a success."""
        if self._outcomes[position] != _SUCCEEDED:
            self._store(position, _NUMBERS[outcome], tail)
            self._count(usage)

    def _count(self, usage: Usage) -> None:
        self._input += usage.input
        self._cached += usage.cached_input
        self._output += usage.output
        self._reasoning += usage.reasoning

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
        self._store(missing[0], _NUMBERS[outcome], answer_tail(None, error, self._attempts))
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
            (_SHOWN[number], os.pread(spool, length, offset), number == _REJECTED)
            for number, length, offset in zip(
                self._outcomes[some], self._lengths[some], self._offsets[some], strict=True
            )
        ]

    def _position(self, line: int) -> int | None:
        # Mostly they come in order, or nearly.
        if self._next < len(self._lines) and self._lines[self._next] == line:
            position = self._next
        else:
            position = bisect_left(self._lines, line)
            if position == len(self._lines) or self._lines[position] != line:
                return None
        self._next = position + 1
        return position

    def _store(self, position: int, outcome: int, piece: bytes) -> None:
        self._outcomes[position] = outcome
        self._offsets[position] = self._size
        self._lengths[position] = len(piece)
        self._size += len(piece)
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        if self._pending_bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        require_headroom(self._folder, self._pending_bytes, self._reserve)
        contents = b"".join(self._pending)
        self._pending = []
        self._pending_bytes = 0
        view = memoryview(contents)
        while view:
            view = view[self._spool.write(view) or 0 :]

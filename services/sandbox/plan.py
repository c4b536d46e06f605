"""What a batch is going to do: its lines on disk, what each will cost and come to.

A plan is made once, by the pass that checks the lines, and read when the batch is
billed and when its results are streamed. In memory it holds a few numbers for each
block of lines, and one byte a line only where a line has a fate of its own.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import msgspec

RECORD_WORDS = 2
"""64-bit words kept on disk for each line: content digest; model, input and output tokens."""
_READ_LINES = 16384
_INPUT_BITS = 28
_OUTPUT_BITS = 24
"""Wide enough for any line: a file has at most 256 MB, an answer a few thousand tokens."""
_MAX_MODELS = 1 << (64 - _INPUT_BITS - _OUTPUT_BITS)
_OTHER_MODELS = "other models"

UNREADABLE = (msgspec.DecodeError, RecursionError)
"""What reading JSON raises if it is wrong, or nested deeper than anybody means."""
MARK = b"[[sandbox:"
_MARKER = re.compile(
    rb"\[\[sandbox:(?:error=(invalid|rate_limit|server|overloaded|timeout)"
    rb"|flaky=(\d{1,3})|(lost|duplicate|garbage)"
    rb"|answer=(empty|no_choices|null|no_content|no_status|refusal|error_body|rate_limit_body)"
    rb"|finish=([A-Za-z_]{1,40}))\]\]"
)


class Fate(IntEnum):
    """What comes of a line when it is run."""

    OK = 0
    DUPLICATE = 1
    """Answered twice."""
    GARBAGE = 2
    """Answered with a torn line."""
    EMPTY = 3
    """Answered with an empty object."""
    NO_CHOICES = 4
    """Answered with an empty list of answers."""
    NULL = 5
    """Answered with null."""
    NO_CONTENT = 6
    """Answered without a content."""
    NO_STATUS = 7
    """Answered well, in a row without a status code."""
    REFUSAL = 8
    """The model refuses."""
    FINISH = 9
    """Ended, without content, for the reason that the marker names."""
    LOST = 10
    """Run and billed, and in no result file."""
    REFUSED = 11
    """The request itself is wrong; the reason is found again when results are written."""
    INVALID = 12
    RATE_LIMIT = 13
    SERVER = 14
    OVERLOADED = 15
    TIMEOUT = 16
    ERROR_BODY = 17
    """Answered with status 200 and an error in the body."""
    RATE_LIMIT_BODY = 18
    """As ERROR_BODY, and the error is one that passes."""


LAST_BILLED = Fate.LOST
LAST_IN_OUTPUT = Fate.FINISH
ODD = frozenset(range(Fate.EMPTY, LAST_BILLED)) | {Fate.ERROR_BODY, Fate.RATE_LIMIT_BODY}
"""Answers that nobody should believe as they are."""


def marked_fate(line: bytes) -> tuple[Fate, int]:
    """The fate that a marker in a line asks for, and for how many attempts (0: always)."""
    found = _MARKER.search(line)
    if found is None:
        return Fate.OK, 0
    error, attempts, other, odd, finish = found.groups()
    if attempts:
        return Fate.SERVER, int(attempts)
    if finish:
        return Fate.FINISH, 0
    return Fate[(error or other or odd).decode().upper()], 0


def marked_reason(line: bytes, usual: str) -> str:
    """The finish reason that a marker in a line names; `usual` if none does."""
    found = _MARKER.search(line)
    return found[5].decode() if found and found[5] else usual


@dataclass(slots=True)
class Totals:
    """Sums over lines. Tokens as the answers' usage has them."""

    lines: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: Totals) -> None:
        self.lines += other.lines
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens


@dataclass(frozen=True, slots=True)
class Block:
    """A run of whole lines in the file of a batch."""

    offset: int
    length: int
    first: int
    """Index of its first line, from 0."""
    lines: int


@dataclass(slots=True)
class Plan:
    """The lines of a batch, in the order of `path`."""

    path: Path
    records: Path
    blocks: list[Block] = field(default_factory=list)
    total: int = 0
    models: list[str] = field(default_factory=list)
    input_tokens: int = 0
    fates: bytearray | None = None
    """One Fate a line; None: every line is OK."""
    flaky: list[tuple[int, int, int]] = field(default_factory=list)
    """(line index, content digest, attempts that fail) of lines marked flaky."""

    def remove(self) -> None:
        """Take the plan's files off the disk."""
        self.path.unlink()
        self.records.unlink()

    def fate_of(self, index: int) -> Fate:
        return Fate.OK if self.fates is None else Fate(self.fates[index])

    def set_fate(self, index: int, fate: Fate) -> None:
        if self.fates is None:
            self.fates = bytearray(self.total)
        self.fates[index] = fate

    def succeeded(self, executed: int) -> int:
        """How many of the first `executed` lines have an answer (lost ones included)."""
        if self.fates is None:
            return executed
        return sum(self.fates.count(fate, 0, executed) for fate in range(LAST_BILLED + 1))

    def lost(self, executed: int) -> int:
        """How many of the first `executed` lines will be in no result file."""
        return 0 if self.fates is None else self.fates.count(Fate.LOST, 0, executed)

    def has_failures(self, block: Block, executed: int) -> bool:
        """Whether a block has a line for the error file, by what has been executed."""
        end = block.first + block.lines
        if end > executed:
            return True
        if self.fates is None:
            return False
        return any(self.fates.find(f, block.first, end) >= 0 for f in Fate if f > LAST_BILLED)

    def billed(self, executed: int) -> Iterator[tuple[array[int], array[int]]]:
        """The digests of billed lines among the first `executed`, and what each has used.

        The second as `used_by` reads it. Comes in groups, so that memory stays constant.
        """
        with self.records.open("rb") as file:
            done = 0
            while done < executed:
                count = min(_READ_LINES, executed - done)
                words = array("Q")
                words.fromfile(file, count * RECORD_WORDS)
                digests, costs = words[0::RECORD_WORDS], words[1::RECORD_WORDS]
                if self.fates is not None:
                    kept = [fate <= LAST_BILLED for fate in self.fates[done : done + count]]
                    digests = array("Q", (d for d, keep in zip(digests, kept, strict=True) if keep))
                    costs = array("Q", (c for c, keep in zip(costs, kept, strict=True) if keep))
                yield digests, costs
                done += count

    def sums(self, costs: array[int]) -> dict[str, Totals]:
        """By model, of what `billed` gave."""
        sums = [Totals() for _ in self.models]
        for model, input_tokens, output_tokens in map(used_by, costs):
            total = sums[model]
            total.lines += 1
            total.input_tokens += input_tokens
            total.output_tokens += output_tokens
        return {m: t for m, t in zip(self.models, sums, strict=True) if t.lines}


def packed(model: int, input_tokens: int, output_tokens: int) -> int:
    """What a line uses, in one word; `model`: its number in a list."""
    return (model << _INPUT_BITS | input_tokens) << _OUTPUT_BITS | output_tokens


def used_by(word: int) -> tuple[int, int, int]:
    """(number of the model, input tokens, output tokens) of a line."""
    return (
        word >> _INPUT_BITS + _OUTPUT_BITS,
        word >> _OUTPUT_BITS & (1 << _INPUT_BITS) - 1,
        word & (1 << _OUTPUT_BITS) - 1,
    )


class PlanWriter:
    """Makes a plan, a block of lines at a time.

    For each line in order: `add` it (and `refuse` it if it is wrong in itself); after
    the last line of a block: `end_block`. At the end: `finish`, or `abandon`.
    """

    def __init__(self, path: Path, records: Path) -> None:
        self.plan = Plan(path, records)
        self._records = records.open("wb", buffering=0)
        self._words = array("Q")
        self._models: dict[str, int] = {}
        self._fates: list[tuple[int, Fate]] = []
        self._count = 0
        self._input_tokens = 0

    def add(self, digest: int, model: str, input_tokens: int, output_tokens: int) -> None:
        number = self._models.get(model)
        if number is None:
            number = self._new_model(model)
        self._count += 1
        self._input_tokens += input_tokens
        self._words.extend((digest, packed(number, input_tokens, output_tokens)))

    def _new_model(self, model: str) -> int:
        if len(self._models) + 1 >= _MAX_MODELS:
            model = _OTHER_MODELS
        return self._models.setdefault(model, len(self._models))

    def refuse(self) -> None:
        """The line just added is wrong in itself: it will be answered with an error."""
        self._fates.append((self._count - 1, Fate.REFUSED))

    def mark(self, line: bytes, digest: int) -> None:
        """Look for a marker in the line just added."""
        fate, attempts = marked_fate(line)
        if attempts:
            self.plan.flaky.append((self._count - 1, digest, attempts))
        elif fate:
            self._fates.append((self._count - 1, fate))

    @property
    def count(self) -> int:
        """Lines added so far."""
        return self._count

    def end_block(self, offset: int, length: int) -> None:
        """The lines added since the last call stand at `offset`, `length` bytes long."""
        first = self.plan.total
        self.plan.total = self._count
        self.plan.blocks.append(Block(offset, length, first, self._count - first))
        self._records.write(self._words)
        self._words = array("Q")

    def finish(self) -> Plan:
        self._records.close()
        self.plan.models = list(self._models)
        self.plan.input_tokens = self._input_tokens
        for index, fate in self._fates:
            self.plan.set_fate(index, fate)
        return self.plan

    def abandon(self) -> None:
        """Nothing will come of this plan."""
        self._records.close()
        self.plan.records.unlink()

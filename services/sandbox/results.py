"""Streams the results of a batch: rows are made from its lines while they are sent.

Blocks of lines come in a shuffled order, and the lines within a block do too. The order
and the rows are the same at each reading.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from random import Random
from typing import Protocol

import msgspec

from services.sandbox.batch import Batch, Phase
from services.sandbox.plan import LAST_BILLED, LAST_IN_OUTPUT, ODD, Fate
from services.sandbox.store import split_lines

PIECE_BYTES = 256 * 1024
"""A piece is at least so long, the last one aside."""
_STRIDE = 7
_NOT_RUN = {Phase.EXPIRED: "batch_expired", Phase.CANCELLED: "batch_cancelled"}


class Answerer(Protocol):
    """A vendor's rows: objects that msgspec writes as JSON."""

    rows_at_once: int
    """How many rows may be held: some hundred short ones, few long ones."""

    def answer(self, index: int, raw: bytes) -> object:
        """The row of a line that was run and went well."""

    def failure(self, index: int, raw: bytes, fate: Fate) -> object:
        """The row of a line that was run and went wrong."""

    def odd(self, index: int, raw: bytes, fate: Fate) -> object:
        """The row of a line that was answered as nobody should believe."""

    def not_run(self, index: int, raw: bytes, code: str) -> object:
        """The row of a line that was not, None if it has none; `code` is batch_expired or
        batch_cancelled."""

    def torn(self, index: int, raw: bytes) -> object:
        """A row that breaks off in the middle of its JSON."""

    def unknown(self, number: int) -> object:
        """A row for a request that nobody made."""


def pieces(
    batch: Batch,
    answerer: Answerer,
    *,
    answered: bool,
    failed: bool,
    shuffle: bool,
    unknown: int,
) -> Iterator[bytes]:
    """The rows of an ended batch as JSON lines, a piece at a time.

    `answered`: those of lines that went well; `failed`: those of all others; `unknown`:
    how many rows that belong to no line come on top.
    """
    encode = msgspec.json.Encoder().encode_lines
    plan = batch.plan
    plain = plan is not None and plan.fates is None and batch.executed == plan.total and answered
    size = 0
    parts: list[bytes] = []
    for lines in _blocks(batch, answered=answered, shuffle=shuffle):
        for start in range(0, len(lines), answerer.rows_at_once):
            rows: list[object] = []
            some = lines[start : start + answerer.rows_at_once]
            if plain:
                rows = [answerer.answer(index, raw) for index, raw in some]
            else:
                for index, raw in some:
                    rows.extend(_rows_of(batch, answerer, index, raw, answered, failed))
            parts.append(encode(rows))
            size += len(parts[-1])
            if size >= PIECE_BYTES:
                yield b"".join(parts)
                parts.clear()
                size = 0
    parts.append(encode([answerer.unknown(number) for number in range(unknown)]))
    yield b"".join(parts)


def _blocks(batch: Batch, *, answered: bool, shuffle: bool) -> Iterator[list[tuple[int, bytes]]]:
    """The numbered lines of each block that has any to answer."""
    plan = batch.plan
    if plan is None:
        return
    blocks = [b for b in plan.blocks if answered or plan.has_failures(b, batch.executed)]
    if shuffle:
        Random(batch.id).shuffle(blocks)
    with plan.path.open("rb", buffering=0) as file:
        for block in blocks:
            data = os.pread(file.fileno(), block.length, block.offset)
            lines = list(enumerate(split_lines(data), block.first))
            if shuffle:
                lines = [line for start in range(_STRIDE) for line in lines[start::_STRIDE]]
            yield lines


def _rows_of(
    batch: Batch, answerer: Answerer, index: int, raw: bytes, answered: bool, failed: bool
) -> Sequence[object]:
    """The rows of one line: none, one or two."""
    plan = batch.plan
    assert plan is not None
    if index >= batch.executed:
        row = answerer.not_run(index, raw, _NOT_RUN[batch.phase]) if failed else None
        return () if row is None else (row,)
    if plan.fates is None:
        return (answerer.answer(index, raw),) if answered else ()
    fate = plan.fates[index]
    if fate > LAST_BILLED:
        make = answerer.odd if fate in ODD else answerer.failure
        return (make(index, raw, Fate(fate)),) if failed else ()
    if not answered or fate > LAST_IN_OUTPUT:
        return ()
    if fate in ODD:
        return (answerer.odd(index, raw, Fate(fate)),)
    if fate == Fate.GARBAGE:
        return (answerer.torn(index, raw),)
    row = answerer.answer(index, raw)
    return (row, row) if fate == Fate.DUPLICATE else (row,)

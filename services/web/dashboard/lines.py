"""One line of a batch: its request in the file that was uploaded, its answer in the results.

Both are found by counting newlines in what streams by: constant memory, and time that grows with
the place of the line. What is too long to be shown is cut; the downloads have all of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from polybatch.errors import NotFound
from polybatch.models import ResultFilter
from polybatch.v1 import batches_pb2

from services.web.client_parts import methods
from services.web.errors import HttpError
from services.web.upstream import Engine

_MOST_BYTES = 256 * 1024
_ID = b'{"id":"'


@dataclass(frozen=True)
class Shown:
    """JSON as it is shown."""

    text: str
    cut: bool
    """Whether the line is longer."""


@dataclass(frozen=True)
class Line:
    """A line of a batch. None: the file is gone; the batch has not ended."""

    request: Shown | None
    answer: Shown | None


async def find_line(
    engine: Engine, batch: batches_pb2.Batch, number: int, has_results: bool
) -> Line:
    """By its number in the file, blank lines counted. Raises HttpError (404)."""
    try:
        file_id = await _uploaded_file(engine, batch)
        raw, place = await _nth_line(engine.downloads.file_chunks(file_id), number)
    except NotFound:
        # The results have the lines that are not blank; without the file these are taken as all.
        raw, place = None, number
    if raw is not None and not raw.strip():
        raise HttpError(404, f"Line {number} of the file is blank, or behind its end.")
    answer = None
    if has_results:
        results = engine.results(batch.id, ResultFilter.ALL).chunks()
        if batch.parent_batch_id:
            answer = await numbered_line(results, number)
        else:
            answer, _ = await _nth_line(results, place)
        if not answer:
            raise HttpError(404, f"The results have no line {number}.")
    return Line(None if raw is None else _shown(raw), None if answer is None else _shown(answer))


async def _uploaded_file(engine: Engine, batch: batches_pb2.Batch) -> str:
    """The file in which the lines of a batch have their numbers: for a retry that of the batch
    that everything began with. Raises NotFound."""
    while batch.parent_batch_id:
        request = batches_pb2.GetBatchRequest(batch_id=batch.parent_batch_id)
        batch = await engine.call(methods.GET_BATCH, request)
    return batch.input_file_id


async def numbered_line(chunks: AsyncGenerator[bytes, None], number: int) -> bytes:
    """The result line of a line of the input, by its id; nothing where there is none."""
    end, held = b"-%d" % number, b""
    async with aclosing(chunks):
        async for chunk in chunks:
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                if line[len(_ID) : line.find(b'"', len(_ID))].endswith(end):
                    return line
    return b""


async def _nth_line(chunks: AsyncGenerator[bytes, None], number: int) -> tuple[bytes, int]:
    """A line by its number from 1, up to a few bytes more than are shown; and how many lines up
    to it are not blank."""
    filled, before, held = 0, number - 1, b""
    async with aclosing(chunks):
        async for chunk in chunks:
            at = 0
            while before and (end := chunk.find(b"\n", at)) >= 0:
                filled += bool((held + chunk[at:end]).strip())
                held, at, before = b"", end + 1, before - 1
            if before:
                # Of a line that is not wanted one byte tells that it is not blank.
                held = (held + chunk[at:].strip())[:1]
                continue
            end = chunk.find(b"\n", at)
            held += chunk[at : end if end >= 0 else len(chunk)]
            if end >= 0 or len(held) > _MOST_BYTES:
                return held, filled + 1
    return (b"" if before else held), filled + 1


def _shown(raw: bytes) -> Shown:
    if len(raw) > _MOST_BYTES:
        return Shown(raw[:_MOST_BYTES].decode(errors="replace"), cut=True)
    try:
        return Shown(msgspec.json.format(raw.decode(), indent=2), cut=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Shown(raw.decode(errors="replace"), cut=False)

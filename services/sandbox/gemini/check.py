"""The reading of a new Gemini batch's file.

A line whose request is wrong is run and answered with an error. What is no line at all,
{"key", "request"}, lets the batch fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import msgspec

from services.sandbox.gemini.lines import Embed, Generate, Line, Request, reader_of
from services.sandbox.plan import MARK, UNREADABLE, Plan, PlanWriter
from services.sandbox.store import read_blocks, split_lines

_line_of = msgspec.json.Decoder(Line).decode


class BadFile(Exception):
    """The file is not one of requests; the text says where."""


async def check(path: Path, records: Path, form: type[Request], model: str) -> Plan:
    """Read a batch's file through and plan its run. Raises BadFile."""
    writer = PlanWriter(path, records)
    request_of = reader_of(form)
    try:
        for offset, block in read_blocks(path):
            marked = MARK in block
            for raw in split_lines(block):
                _add(raw, request_of, model, writer, marked=marked)
            writer.end_block(offset, len(block))
            await asyncio.sleep(0)
        if not writer.count:
            raise BadFile("The file has no request.")
    except BaseException:
        writer.abandon()
        raise
    return writer.finish()


def _add(
    raw: bytes,
    request_of: Callable[[bytes | msgspec.Raw], Request],
    model: str,
    writer: PlanWriter,
    *,
    marked: bool,
) -> None:
    try:
        line = _line_of(raw)
    except UNREADABLE as error:
        raise BadFile(f"Line {writer.count + 1} is no request: {error}") from error
    digest = int.from_bytes(blake2b(line.request, digest_size=8).digest(), "little")
    try:
        request = request_of(line.request)
    except UNREADABLE:
        request = None
    if request is None or request.problem(model):
        writer.add(digest, model, 0, 0)
        writer.refuse()
        return
    match request:
        case Generate():
            writer.add(digest, model, *request.measure(model, request.question))
        case Embed():
            writer.add(digest, model, request.tokens, 0)
    if marked and MARK in raw:
        writer.mark(raw, digest)

"""ConversionService of polybatch.v1: lines from one API's form into another's.

In: the spec of a call and its lines. Out: converted lines, and the problems of others. Nothing is
kept. What can go wrong: the client breaks off or is silent, or sends more than a line may have;
all of it is an ApiError, and the call can be made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
from polybatch.v1 import conversion_pb2, conversion_pb2_grpc, files_pb2

from core.batchfile import custom_id_of
from core.providers import LineRejected, Note
from core.providers.conversion import Form, Target, convert_line
from core.serving import ApiError
from core.settings import Settings
from services.gateway.batch_args import invalid_fields
from services.gateway.framing import malformed, parse_chunk, parse_spec
from services.gateway.minimum_throughput import MinimumThroughput
from services.gateway.stream import MessageStream

Context = grpc.aio.ServicerContext[Any, Any]
Response = conversion_pb2.ConvertLinesResponse

GROUP_BYTES = 2 << 20
"""What a call may have beside a line of the longest kind."""
_CHUNK_BYTES = 1 << 20
_MAX_NAME = 256
_FORMS: dict[int, Form | None] = {
    conversion_pb2.LINE_FORM_UNSPECIFIED: None,
    conversion_pb2.LINE_FORM_OPENAI: Form.OPENAI,
    conversion_pb2.LINE_FORM_ANTHROPIC: Form.ANTHROPIC,
    conversion_pb2.LINE_FORM_GEMINI: Form.GEMINI,
}


class ConversionServicer(conversion_pb2_grpc.ConversionServiceServicer):
    """Answers as the comments in conversion.proto say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def ConvertLines(
        self, messages: AsyncIterator[bytes], _context: Context
    ) -> AsyncGenerator[Response, None]:
        """Takes the messages as they came; see services.gateway.framing."""
        async with MessageStream(
            messages, idle_timeout=self._settings.upload_idle_timeout
        ) as stream:
            first = parse_spec(await stream.next() or b"", conversion_pb2.ConvertLinesRequest)
            target = target_of(first.spec)
            lines = await self._lines(stream)
        # Translating a long line takes a while: others have their turn meanwhile.
        converted, problems = await asyncio.to_thread(
            convert_lines, lines, target, max(1, first.spec.first_line)
        )
        for at in range(0, len(converted), _CHUNK_BYTES):
            yield Response(chunk=converted[at : at + _CHUNK_BYTES])
        for problem in problems:
            yield Response(problem=problem)

    async def _lines(self, stream: MessageStream) -> bytes:
        settings, clock = self._settings, asyncio.get_running_loop().time
        throughput = MinimumThroughput(
            settings.upload_min_rate, window=settings.upload_idle_timeout
        )
        limit = settings.max_line_bytes + GROUP_BYTES
        chunks = bytearray()
        while True:
            asked = clock()
            message = await stream.next()
            chunk = parse_chunk(message, conversion_pb2.ConvertLinesRequest)
            if chunk is None:
                return bytes(chunks)
            throughput.add(clock() - asked, len(chunk))
            chunks += chunk
            if len(chunks) > limit:
                raise ApiError.invalid_argument(
                    "CONVERSION_TOO_LARGE",
                    f"the lines have more than {limit} bytes: send fewer at a time",
                )


def convert_lines(
    lines: bytes, target: Target, first_line: int
) -> tuple[bytes, list[files_pb2.LineProblem]]:
    """The lines that could be converted, and the problems of the others, in their order."""
    converted = bytearray()
    problems: list[files_pb2.LineProblem] = []
    for number, raw in enumerate(lines.split(b"\n"), first_line):
        line = raw.removesuffix(b"\r")
        if not line.strip():
            continue
        try:
            made, notes = convert_line(line, target)
        except LineRejected as error:
            problems.append(_refusal(number, line, target, error))
            continue
        converted += made + b"\n"
        if target.lenient:
            problems += [
                _problem(number, line, note, lenient=True) for note in notes if note.dropped
            ]
    return bytes(converted), problems


def _refusal(
    number: int, line: bytes, target: Target, error: LineRejected
) -> files_pb2.LineProblem:
    note = Note(error.field, error.reason, error.message)
    if not target.lenient:
        try:
            convert_line(line, replace(target, lenient=True))
        except LineRejected:
            return _problem(number, line, note, lenient=False)
    return _problem(number, line, note, lenient=not target.lenient)


def _problem(number: int, line: bytes, note: Note, *, lenient: bool) -> files_pb2.LineProblem:
    return files_pb2.LineProblem(
        line=number,
        custom_id=custom_id_of(line),
        field=note.field,
        reason=note.reason,
        message=note.message,
        lenient=lenient,
    )


def target_of(spec: conversion_pb2.ConversionSpec) -> Target:
    """What a spec asks for. Raises MALFORMED_STREAM, INVALID_FIELD."""
    if spec.to not in _FORMS:
        raise malformed("`to` is no known form")
    named = (("model", spec.model), ("provider", spec.provider))
    wrong = [
        (name, f"at most {_MAX_NAME} printable characters")
        for name, value in named
        if len(value) > _MAX_NAME or not value.isprintable()
    ]
    if wrong:
        raise invalid_fields(wrong)
    return Target(_FORMS[spec.to], spec.model, spec.provider, spec.lenient)

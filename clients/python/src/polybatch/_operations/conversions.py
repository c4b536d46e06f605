"""Lines from one API's form into another's, by the service."""

from __future__ import annotations

from typing import Literal

from polybatch._operations.calls import Caller
from polybatch._operations.pieces import CHUNK_BYTES
from polybatch._transport import methods
from polybatch.errors import PolybatchError
from polybatch.models import ConvertedLines
from polybatch.problems import LineProblem
from polybatch.v1 import conversion_pb2

Form = Literal["openai", "anthropic", "gemini"]
"""{"custom_id", "method", "url", "body"}; {"custom_id", "params"}; {"key", "request"}."""

_FORMS: dict[Form | None, conversion_pb2.LineForm] = {
    None: conversion_pb2.LINE_FORM_UNSPECIFIED,
    "openai": conversion_pb2.LINE_FORM_OPENAI,
    "anthropic": conversion_pb2.LINE_FORM_ANTHROPIC,
    "gemini": conversion_pb2.LINE_FORM_GEMINI,
}


class Conversions:
    """ConversionService.ConvertLines."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def convert_lines(
        self,
        lines: bytes,
        *,
        to: Form | None,
        model: str | None,
        provider: str | None,
        lenient: bool,
        first_line: int,
    ) -> ConvertedLines:
        """Converts whole lines, again from the first one where the call breaks."""
        request = conversion_pb2.ConvertLinesRequest
        spec = conversion_pb2.ConversionSpec(
            to=_FORMS[to],
            model=model or "",
            provider=provider or "",
            lenient=lenient,
            first_line=first_line,
        )
        messages = [request(spec=spec)]
        messages += [
            request(chunk=lines[at : at + CHUNK_BYTES]) for at in range(0, len(lines), CHUNK_BYTES)
        ]
        messages.append(request(finish=True))
        serialized = [message.SerializeToString() for message in messages]
        attempts = self._caller.attempts(methods.CONVERT_LINES.server)
        while True:
            try:
                converted = await self._exchange(serialized)
            except PolybatchError as error:
                await attempts.pause(error)
            else:
                attempts.progress()
                return converted

    async def _exchange(self, messages: list[bytes]) -> ConvertedLines:
        seconds = self._caller.policy.call_timeout
        stream = self._caller.transport.exchange(methods.CONVERT_LINES, messages, seconds)
        chunks: list[bytes] = []
        problems: list[LineProblem] = []
        try:
            while (reply := await stream.read()) is not None:
                if reply.WhichOneof("payload") == "problem":
                    problems.append(LineProblem.from_proto(reply.problem))
                else:
                    chunks.append(reply.chunk)
        finally:
            stream.cancel()
        return ConvertedLines(b"".join(chunks), tuple(problems))

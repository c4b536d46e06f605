"""A stream of result lines: cut into lines, each made a ResultLine by its provider's reader."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence, Set
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from core.json_depth import MAX_DEPTH, deeper_than
from core.providers.contract import (
    Outcome,
    ProviderRejected,
    ProviderUnavailable,
    RemoteBatch,
    ResultLine,
    ResultsGone,
)
from core.providers.http.client import ProviderHttp
from core.providers.line_errors import line_error

log = structlog.get_logger()

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is left out: what a provider sends must not fill the memory."""

SHOWN_WITHIN = timedelta(hours=1)
"""From the end of a batch on: results that are not found later have been deleted."""
NOT_FOUND = frozenset({404, 410})

# An escaped backslash, a whole pair, or half of one.
_SURROGATES = re.compile(
    rb"\\\\|\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u[dD][89a-fA-F][\da-fA-F]{2}"
)
_any_json = msgspec.json.Decoder(msgspec.Raw)


_encoder = msgspec.json.Encoder()
# Each level takes two brackets.
_SHALLOW = 2 * MAX_DEPTH


class UnreadableLine(Exception):
    """A result line that cannot be tied to one of our lines."""


class _Response(msgspec.Struct, gc=False):
    status_code: int
    request_id: str
    body: Any


def encoded_response(body: Any, status: int = 200, request_id: str = "") -> bytes:
    """JSON, as ResultLine.response."""
    return _encoder.encode(_Response(status, request_id, body))


def refused_line(
    custom_id: str, code: str, message: str, status: int, *, transient: bool, request_id: str = ""
) -> ResultLine:
    """The result of a line that its provider refused, with an error body of OpenAI's form."""
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return ResultLine(
        custom_id,
        Outcome.RETRYABLE if transient else Outcome.FAILED,
        encoded_response(body, status, request_id),
        line_error(code, message),
    )


async def split_lines(chunks: AsyncIterable[bytes]) -> AsyncGenerator[list[bytes | None], None]:
    """Cut chunks into non-blank lines, a group for each chunk; None stands for one too long.

    Raises ProviderUnavailable if the stream ends in the middle of a line.
    """
    # One buffer: a list of pieces would cost tens of bytes for each, however small.
    held = bytearray()
    oversized = False
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        group: list[bytes | None] = []
        for end in ends:
            if oversized or len(held) + len(end) > MAX_LINE_BYTES:
                group.append(None)
            else:
                line = bytes(held) + end if held else end
                if line.strip():
                    group.append(line)
            held.clear()
            oversized = False
        oversized = oversized or len(held) + len(rest) > MAX_LINE_BYTES
        if oversized:
            held.clear()
        else:
            held += rest
        if group:
            yield group
    if oversized:
        # Whether it was whole cannot be told.
        yield [None]
    last = bytes(held)
    if last.strip():
        # Where the length is not declared, a cut connection looks like an end.
        try:
            _any_json.decode(last)
        except (msgspec.DecodeError, RecursionError):
            text = "the stream of results ended in the middle of a line"
            raise ProviderUnavailable(text) from None
        yield [last]


async def download_results(
    http: ProviderHttp,
    url: str,
    read: Callable[[bytes], ResultLine],
    batch: RemoteBatch,
    *,
    now: Callable[[], datetime],
    not_found: Set[int] = NOT_FOUND,
) -> AsyncGenerator[Sequence[ResultLine], None]:
    """Fetch and read one source of a batch's results, a group of lines at a time.

    `not_found`: statuses that the provider answers with when a source is not there.
    Raises ProviderUnavailable, ResultsGone, ProviderRejected.
    """
    try:
        async with (
            aclosing(http.download(url)) as chunks,
            aclosing(read_results(chunks, read, source=batch.remote_id)) as groups,
        ):
            async for group in groups:
                yield group
    except ProviderRejected as error:
        if error.status not in not_found or batch.ended_at is None:
            raise
        if now() - batch.ended_at < SHOWN_WITHIN:
            raise ProviderUnavailable(error.message) from None
        raise ResultsGone("results_expired", error.message, error.status) from None


async def read_results(
    chunks: AsyncIterable[bytes], read: Callable[[bytes], ResultLine], *, source: str
) -> AsyncGenerator[Sequence[ResultLine], None]:
    """Read result lines in groups. Unreadable lines are left out and counted in the log.

    `read` raises UnreadableLine. `source` names the stream in the log.
    """
    unreadable = 0
    async for lines in split_lines(chunks):
        group: list[ResultLine] = []
        for line in lines:
            try:
                # The short looks first, as this is done for each line.
                if (
                    line is None
                    or not (line.isascii() or is_utf8(line))
                    or (len(line) > _SHALLOW and deeper_than(line))
                ):
                    raise UnreadableLine
                group.append(read(whole_surrogates(line) if b"\\" in line else line))
            except UnreadableLine:
                unreadable += 1
        if group:
            yield group
    if unreadable:
        log.warning("unreadable_result_lines", source=source, count=unreadable)


def whole_surrogates(line: bytes) -> bytes:
    """JSON with U+FFFD for each half of a surrogate pair that stands alone.

    No text can hold one, so a decoder refuses the line, which was paid for.
    """
    if b"\\ud" not in line and b"\\uD" not in line:
        return line
    return _SURROGATES.sub(lambda found: b"\\ufffd" if len(found[0]) == 6 else found[0], line)


def is_utf8(line: bytes) -> bool:
    """Whether bytes are text."""
    # Parts of a line are passed on unread, so no decoder looks at their bytes.
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True

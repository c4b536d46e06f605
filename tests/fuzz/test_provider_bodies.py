"""Bodies that never end, swell, or lie about their length: bounded memory, a clear end."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress

import pytest

from core.providers import result_lines as resultlines
from core.providers.contract import Outcome, ProviderUnavailable, ResultLine
from core.providers.http import client as http_module
from core.providers.openai.rows import read_row
from core.providers.result_lines import read_results
from tests.support.providers.fake_provider import Naps, connect

MIB = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\n"
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(write: Write) -> AsyncIterator[str]:
    """A server that reads a request's head and then writes what it is told to."""

    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        handlers.add(handler)
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await write(writer)
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await asyncio.gather(*handlers, return_exceptions=True)


def sends(data: bytes) -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return write


def for_ever(head: bytes, piece: bytes) -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()

    return write


async def download(write: Write, *, seconds: float = 5.0) -> tuple[int, int]:
    """(bytes, largest piece) of a download."""
    total = largest = 0
    async with (
        answering(write) as url,
        connect(url, Naps(), seconds=seconds) as http,
        aclosing(http.download("/results")) as pieces,
    ):
        async for piece in pieces:
            total += len(piece)
            largest = max(largest, len(piece))
    return total, largest


def peak_while(work: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[int]]:
    async def measure() -> int:
        tracemalloc.start()
        try:
            await work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


async def test_packed_results_are_unpacked_a_piece_at_a_time() -> None:
    packed = gzip.compress(bytes(64 * MIB))
    head = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)

    async def work() -> None:
        assert await download(sends(head + packed)) == (64 * MIB, 256 * 1024)

    assert await peak_while(work)() < 8 * MIB


async def test_two_packed_bodies_in_one_are_read() -> None:
    packed = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    head = HEAD + b"content-encoding: gzip\r\n\r\n"
    assert (await download(sends(head + packed)))[0] == 8


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip, gzip", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0)),
        (b"br", b"x"),
        (b"zstd", b"x"),
        (b"gzip", b"this is no gzip"),
        (b"gzip", gzip.compress(b"x" * 10_000, mtime=0)[:-9]),
        (b"identity\r\ncontent-encoding: gzip", gzip.compress(b"x", mtime=0)),
    ],
    ids=["packed-twice", "br", "zstd", "not-packed", "cut-off", "two-headers"],
)
async def test_a_body_not_packed_as_asked_breaks_the_download(coding: bytes, body: bytes) -> None:
    head = HEAD + b"content-encoding: " + coding + b"\r\n\r\n"
    with pytest.raises(ProviderUnavailable, match="gzip"):
        await download(sends(head + body))


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"content-length: 100\r\n\r\nshort",
        HEAD + b"content-length: -1\r\n\r\nx",
        HEAD + b"content-length: 1, 2\r\n\r\nx",
        HEAD + b"transfer-encoding: chunked\r\n\r\nZZ\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 1000 + b"\r\n",
        b"HTTP/1.1 9999 What\r\n\r\n",
        b"\x00\xff\xfe garbage \r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_no_http_breaks_the_download(answer: bytes) -> None:
    with pytest.raises(ProviderUnavailable):
        await download(sends(answer))


@pytest.mark.long
async def test_a_head_without_an_end_breaks_the_download() -> None:
    async def work() -> None:
        with pytest.raises(ProviderUnavailable):
            await download(for_ever(HEAD, b"x-more: and more\r\n"))

    assert await peak_while(work)() < 4 * MIB


async def test_a_head_that_trickles_has_to_come_within_the_timeout() -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        gone = asyncio.ensure_future(writer.wait_closed())
        while not gone.done():
            writer.write(b"x")
            await asyncio.wait([gone], timeout=0.05)
        await gone

    with pytest.raises(ProviderUnavailable, match="no answer in time"):
        await download(write, seconds=0.5)


async def test_a_body_without_an_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "LONGEST_DOWNLOAD", 0.5)
    with pytest.raises(ProviderUnavailable, match="did not end"):
        await download(for_ever(HEAD + b"\r\n", b"\n" * 65536))


async def lines_of(pieces: Iterable[bytes]) -> tuple[list[str], int]:
    """The custom ids that were read, and the peak of the memory that it took."""

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    def read(line: bytes) -> ResultLine:
        return ResultLine(line[:5].decode(), Outcome.SUCCEEDED, line, None)

    found: list[str] = []

    async def work() -> None:
        async with aclosing(read_results(chunks(), read, source="x")) as groups:
            async for group in groups:
                found.extend(line.custom_id for line in group)

    return found, await peak_while(work)()


async def test_an_endless_result_line_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resultlines, "MAX_LINE_BYTES", 4 * MIB)
    pieces = [b"first\n", *[b"x" * MIB] * 50, b"\nlast\n"]
    found, peak = await lines_of(pieces)
    assert found == ["first", "last"]
    assert peak < 16 * MIB


async def test_a_line_in_tiny_pieces_costs_its_bytes() -> None:
    # Made one by one, so that each would cost an object of its own if it were kept.
    pieces = (b"\n" if number == 29_999 else bytes(2) for number in range(30_000))
    found, peak = await lines_of(pieces)
    assert found == ["\0" * 5]
    assert peak < MIB // 2


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (rb"\ud83d", rb"\ufffd"),
        (rb"\uDE00x", rb"\ufffdx"),
        (rb"\ud83d\ude00", rb"\ud83d\ude00"),
        (rb"\ud83d\ud83d\ude00", rb"\ufffd\ud83d\ude00"),
        (rb"\\ud83d", rb"\\ud83d"),
        (rb"\\\ud83d", rb"\\\ufffd"),
    ],
)
async def test_half_a_surrogate_pair_does_not_cost_the_line(text: bytes, kept: bytes) -> None:
    row = b'{"custom_id":"a","response":{"status_code":200,"body":{"x":"%b"}}}\n'

    async def chunks() -> AsyncIterator[bytes]:
        yield row % text

    async with aclosing(read_results(chunks(), read_row, source="x")) as groups:
        results = [line async for group in groups for line in group]
    assert [line.response for line in results] == [b'{"status_code":200,"body":{"x":"%b"}}' % kept]


async def test_a_deep_result_line_is_left_out() -> None:
    deep = b'{"a":' * 501 + b"1" + b"}" * 501
    assert (await lines_of([b"first\n", deep + b"\n", b"last\n"]))[0] == ["first", "last"]

"""Connections over which something comes that never ends."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.web.conftest import Web

CHUNKED = (
    b"POST /v1/batches HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ntransfer-encoding: chunked\r\n\r\n"
)


async def test_a_head_without_an_end(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.web.server._HEAD_SECONDS", 0.2)
    for sent in (b"", b"GET /v1/files HTTP/1.1\r\nhost: x\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", web.server.port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", web.server.port)
    writer.write(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 431")
    writer.close()


@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"x: y\r\n" * 1000),
        (CHUNKED + b"2\r\n{}\r\n0\r\nx: ", b"y" * 8000),
        (CHUNKED + b"2;", b"y" * 8000),
        (b"", b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n" * 300),
    ],
    ids=["trailers", "a trailer", "an extension of a chunk", "requests sent ahead"],
)
async def test_what_never_ends_and_is_of_no_use(web: Web, begun: bytes, rest: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", web.server.port)

    async def go_on() -> None:
        for _ in range(2_000):
            writer.write(rest)
            await asyncio.wait_for(writer.drain(), 10)

    writer.write(begun)
    with pytest.raises(ConnectionError):
        await go_on()
    writer.close()
    assert (await web.client.get("/v1/batches")).status_code == 200

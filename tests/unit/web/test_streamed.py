"""Answers of chunks: what makes them is asked for no more than is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.types import Message

from services.web.responses import streamed


async def test_head_of_a_download_fetches_nothing() -> None:
    taken: list[int] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            for number in range(100):
                taken.append(number)
                yield b"x"
        finally:
            taken.append(-1)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[Message] = []
    answer = await streamed(chunks(), "application/jsonl", {"content-length": "100"})
    await answer({"type": "http", "method": "HEAD"}, receive, send)
    assert taken == [0, -1], "the first tells that it can be had"
    assert (b"content-length", b"100") in sent[0]["headers"]
    assert [each.get("body") for each in sent[1:]] == [b""]

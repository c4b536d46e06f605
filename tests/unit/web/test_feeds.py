"""Pages that show the same share one watch, and none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from polybatch.v1 import batches_pb2

from services.web.dashboard.feeds import Event, Feeds


class Watch:
    """What a test says happens; how often it was begun, and stopped."""

    def __init__(self) -> None:
        self.happens: asyncio.Queue[Event | None] = asyncio.Queue()
        self.begun = 0
        self.stopped = 0

    async def source(self) -> AsyncGenerator[Event, None]:
        self.begun += 1
        try:
            while (event := await self.happens.get()) is not None:
                yield event
                # The pages have it by now.
                self.happens.task_done()
            self.happens.task_done()
        finally:
            self.stopped += 1

    async def say(self, *events: Event | None) -> None:
        """Until all of it has reached the pages."""
        for event in events:
            self.happens.put_nowait(event)
        await self.happens.join()
        await asyncio.sleep(0)


def of(batch_id: str, revision: int) -> Event:
    return Event(f"{batch_id} {revision}".encode(), batch_id, revision)


@pytest.fixture
def watch() -> Watch:
    return Watch()


async def test_one_watch_for_all_pages(watch: Watch) -> None:
    feeds = Feeds()
    pages = [feeds.follow("key", "all", watch.source) for _ in range(3)]
    first, second, late = pages
    waiting = [asyncio.ensure_future(anext(page)) for page in (first, second)]
    await watch.say(of("a", 1))
    assert [(await each).revision for each in waiting] == [1, 1]
    # A page that has not asked for more is given the newest of each batch alone.
    await watch.say(of("a", 2), of("b", 1), of("a", 3))
    assert [await anext(first), await anext(first)] == [of("b", 1), of("a", 3)]
    assert [(await anext(late)).batch_id for _ in range(2)] == ["b", "a"]
    assert watch.begun == 1
    # What one key may see is nothing to another.
    other = feeds.follow("another key", "all", watch.source)
    waits = asyncio.ensure_future(anext(other))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert watch.begun == 2
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    await other.aclose()
    await first.aclose()
    await second.aclose()
    await watch.say(of("a", 4))
    assert await anext(late) == of("a", 4)
    await late.aclose()
    assert watch.stopped == 2


async def test_the_end_of_a_watch_is_that_of_its_pages(watch: Watch) -> None:
    feeds = Feeds()
    page = feeds.follow("key", "batch", watch.source)
    waits = asyncio.ensure_future(anext(page))
    await watch.say(of("a", 1), None)
    assert await waits == of("a", 1)
    assert [each async for each in page] == []
    # The next page begins a new one.
    again = feeds.follow("key", "batch", watch.source)
    waits = asyncio.ensure_future(anext(again))
    await watch.say(of("a", 2))
    assert await waits == of("a", 2)
    assert watch.begun == 2
    await again.aclose()
    assert watch.stopped == 2


async def test_what_breaks_a_watch_reaches_every_page() -> None:
    async def broken() -> AsyncGenerator[Event, None]:
        yield of("a", 1)
        raise ValueError("broken")

    feeds = Feeds()
    for page in [feeds.follow("key", "batch", broken) for _ in range(2)]:
        assert await anext(page) == of("a", 1)
        with pytest.raises(ValueError, match="broken"):
            await anext(page)


async def test_a_batch_is_drawn_once_for_all_keys() -> None:
    feeds, drawn = Feeds(), []

    async def draw() -> bytes:
        drawn.append(1)
        return b"text"

    for revision in (1, 1, 2):
        batch = batches_pb2.Batch(id="batch_a", revision=revision)
        assert await feeds.drawn("row", batch, draw) == b"text"
    assert len(drawn) == 2

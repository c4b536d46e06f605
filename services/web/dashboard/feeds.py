"""Watches that many open pages share, and what is drawn of them, once for all.

In: a watch of the engine, as events. Out: the same to each page that follows. A page costs a slot
for each batch that it has not been told of yet: a slow one is given only the newest. With the last
page the watch ends; when the watch ends, so do its pages.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from polybatch.v1 import batches_pb2

# As many as a watch begins with.
_MOST_SHOWN = 1000
# Of pages with different keys on the same batches.
_MOST_DRAWN = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event. `batch_id`: whose; empty: of none. `revision`: 0 without a batch."""

    text: bytes
    batch_id: str = ""
    revision: int = 0


Source = Callable[[], AsyncGenerator[Event, None]]


@dataclass(slots=True, eq=False)
class _Page:
    waiting: dict[str, Event]
    ended: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, event: Event) -> None:
        # Behind the others: what is drawn last is what has changed last.
        self.waiting.pop(event.batch_id, None)
        self.waiting[event.batch_id] = event
        self.woken.set()

    def end(self) -> None:
        self.ended = True
        self.woken.set()


class _Feed:
    """One watch and its pages."""

    def __init__(self, source: Source, forget: Callable[[], None]) -> None:
        self._pages: set[_Page] = set()
        self._shown: OrderedDict[str, Event] = OrderedDict()
        self._forget = forget
        self._ended = False
        self._task = asyncio.create_task(self._run(source))

    async def _run(self, source: Source) -> None:
        try:
            async with aclosing(source()) as events:
                async for event in events:
                    if event.batch_id:
                        self._shown[event.batch_id] = event
                        self._shown.move_to_end(event.batch_id)
                        if len(self._shown) > _MOST_SHOWN:
                            self._shown.popitem(last=False)
                    for page in self._pages:
                        page.put(event)
        finally:
            self._ended = True
            self._forget()
            for page in self._pages:
                page.end()

    async def follow(self) -> AsyncGenerator[Event, None]:
        # It may be over before its first page is here.
        page = _Page(dict(self._shown), self._ended)
        page.woken.set()
        self._pages.add(page)
        try:
            while not page.ended or page.waiting:
                await page.woken.wait()
                page.woken.clear()
                while page.waiting:
                    yield page.waiting.pop(next(iter(page.waiting)))
            # What broke it, if something did that the source has no event for.
            await self._task
        finally:
            self._pages.discard(page)
            if not self._pages:
                self._forget()
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)


class Feeds:
    """All of one process."""

    def __init__(self) -> None:
        self._feeds: dict[tuple[str, str], _Feed] = {}
        self._drawn: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()

    def follow(self, key: str, target: str, source: Source) -> AsyncGenerator[Event, None]:
        """Events of what is watched with a key; `source` is begun where nobody watches it yet."""
        name = (key, target)
        feed = self._feeds.get(name)
        if feed is None:
            feed = _Feed(source, lambda: self._forget(name, feed))
            self._feeds[name] = feed
        return feed.follow()

    def _forget(self, name: tuple[str, str], feed: _Feed | None) -> None:
        if self._feeds.get(name) is feed:
            self._feeds.pop(name, None)

    async def drawn(
        self, what: str, batch: batches_pb2.Batch, draw: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """What is made of a batch at its revision, which is the same for all who may see it."""
        name = (what, batch.id, batch.revision)
        found = self._drawn.get(name)
        if found is None:
            found = self._drawn[name] = await draw()
            if len(self._drawn) > _MOST_DRAWN:
                self._drawn.popitem(last=False)
        return found

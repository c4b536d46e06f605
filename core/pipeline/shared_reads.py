"""Reads of the ledger that many ask for at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedReads(Generic[K, V]):
    """One read of each key at a time: who asks while it runs shares the next one.

    So nobody is told what was read before he asked, and what thousands ask for at once, as
    watchers do whose collector has gone, costs a few reads.
    """

    def __init__(self, read: Callable[[K], Awaitable[V]]) -> None:
        self._read = read
        self._running: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """Read a key. Raises what the read raises."""
        reading = self._next.get(key)
        if reading is None:
            reading = asyncio.create_task(self._read_after(self._running.get(key), key))
            self._next[key] = reading
        return await asyncio.shield(reading)

    async def _read_after(self, earlier: asyncio.Task[V] | None, key: K) -> V:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._running[key] = self._next.pop(key)
        try:
            return await self._read(key)
        finally:
            del self._running[key]

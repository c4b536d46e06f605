"""Turns by account: whoever was served longest ago is next, and of its work the most urgent.

In memory are the accounts that have work here, no others: one that comes anew goes first.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

NEVER = -1


class Served:
    """Which account was served when, counted in turns."""

    def __init__(self) -> None:
        self._turns = itertools.count()
        self._last: dict[str, int] = {}

    def last(self, account_id: str) -> int:
        """The number of its last turn; NEVER if it has had none."""
        return self._last.get(account_id, NEVER)

    def note(self, account_id: str) -> None:
        """It is served now."""
        self._last[account_id] = next(self._turns)

    def keep(self, account_ids: Collection[str]) -> None:
        """Forget all other accounts."""
        self._last = {each: turn for each, turn in self._last.items() if each in account_ids}


class FairLock:
    """One at a time, in fair order."""

    def __init__(self) -> None:
        self._served = Served()
        self._arrivals = itertools.count()
        self._held = False
        self._waiting: list[tuple[str, int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, account_id: str, priority: int) -> AsyncIterator[None]:
        """Wait for the lock, and hold it for the length of the block."""
        if self._held:
            await self._wait(account_id, priority)
        self._held = True
        self._served.note(account_id)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, account_id: str, priority: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        entry = (account_id, priority, next(self._arrivals), turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif not turn.cancelled():
                # It was passed on to us.
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give the lock to the next one. It stays held: nobody comes in between."""
        # Whose task was stopped just now has yet to hear of it.
        self._waiting = [each for each in self._waiting if not each[3].done()]
        self._held = bool(self._waiting)
        if not self._waiting:
            self._served.keep(())
            return
        entry = min(self._waiting, key=lambda each: (self._served.last(each[0]), -each[1], each[2]))
        self._waiting.remove(entry)
        entry[3].set_result(None)

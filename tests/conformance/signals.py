"""Waiting until something has come true in a scenario."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WAIT = 45.0
"""Seconds, many times what anything takes here on a machine that is busy with all of it."""


class Failed(Exception):
    """A client has not done what a scenario asks of it. The message says what, for people."""


def check(right: bool, wrong: str) -> None:
    """Raises Failed with what is wrong."""
    if not right:
        raise Failed(wrong)


class Signals:
    """Tells those who wait that something has happened: a call, a message, a line of output."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Let everybody look again."""
        self._next.set()
        self._next = asyncio.Event()

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something is true. Raises Failed, with `what`, where that takes too long."""
        try:
            async with asyncio.timeout(WAIT):
                while not true():
                    await self._next.wait()
        except TimeoutError:
            raise Failed(f"waited {WAIT:.0f} s for {what}") from None

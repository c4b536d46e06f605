"""When a step is due, and work that is done again and again until a service stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from core.ledger import now

EARLY = 0.02
"""Seconds: less than a clock may differ between replicas; more than a timer may be early."""


def after(seconds: float) -> datetime:
    """The moment so many seconds from now."""
    return now() + timedelta(seconds=seconds)


async def repeat(
    work: Callable[[], Awaitable[object]], seconds: float, stop: asyncio.Event
) -> None:
    """Do it at once, and again so many seconds after it has ended, until `stop` is set."""
    while not stop.is_set():
        await work()
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            continue

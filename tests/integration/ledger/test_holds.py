"""Until when providers want no call, as the ledger keeps it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from core.ledger import Ledger, now


async def test_the_later_of_two_holds_is_kept(ledger: Ledger) -> None:
    late = now() + timedelta(hours=2)
    times = [late, now() + timedelta(hours=1), now() + timedelta(minutes=1)]
    await asyncio.gather(*(ledger.holds.keep({("openai", "k"): until}) for until in times * 2))
    (row,) = await ledger.holds.current()
    assert (row.provider, row.credential, row.until) == ("openai", "k", late)


async def test_holds_that_are_over_are_not_told(ledger: Ledger) -> None:
    await ledger.holds.keep({("openai", "k"): now() - timedelta(seconds=1)})
    assert await ledger.holds.current() == []
    hour = now() + timedelta(hours=1)
    await ledger.holds.keep({("openai", "k"): hour, ("openai", "other"): hour})
    assert len(await ledger.holds.current()) == 2

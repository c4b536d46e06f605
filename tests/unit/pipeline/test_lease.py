"""A lease is renewed while its holder lives, and ended in order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.ledger import LedgerUnavailable
from core.pipeline import renewing_lease

LEASE = timedelta(seconds=0.15)
PATIENCE = 10.0


class Ledger:
    """Notes the renewals, and says when there have been so many."""

    def __init__(self, *, away: int = 0, lost: bool = False) -> None:
        self.renewals: list[timedelta] = []
        self._away = away
        self._lost = lost
        self._changed = asyncio.Condition()

    async def renew(self, lease: timedelta) -> bool:
        async with self._changed:
            self.renewals.append(lease)
            self._changed.notify_all()
        if len(self.renewals) <= self._away:
            raise LedgerUnavailable("away")
        return not self._lost

    async def seen(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.renewals) >= count)


async def test_it_is_renewed_until_the_end() -> None:
    ledger = Ledger()
    async with renewing_lease(ledger.renew, LEASE):
        await ledger.seen(3)
    assert set(ledger.renewals) == {LEASE}, "and what follows may set another time"


async def test_a_ledger_that_is_away_is_asked_again() -> None:
    ledger = Ledger(away=2)
    async with renewing_lease(ledger.renew, LEASE):
        await ledger.seen(4)


async def test_a_lease_that_was_lost_is_let_be() -> None:
    ledger = Ledger(lost=True)
    async with renewing_lease(ledger.renew, LEASE):
        await ledger.seen(1)
        again = asyncio.create_task(ledger.seen(2))
        await asyncio.wait([again], timeout=2 * LEASE.total_seconds())
        again.cancel()
        assert len(ledger.renewals) == 1


async def test_after_an_error_it_ends_soon() -> None:
    ledger = Ledger()
    with pytest.raises(ValueError, match="broken"):
        async with renewing_lease(ledger.renew, timedelta(seconds=30)):
            raise ValueError("broken")
    assert ledger.renewals == [timedelta(seconds=10)]


async def test_a_process_that_ends_leaves_nothing_to_wait_for() -> None:
    ledger = Ledger()
    with pytest.raises(asyncio.CancelledError):
        async with renewing_lease(ledger.renew, timedelta(seconds=30)):
            raise asyncio.CancelledError
    assert ledger.renewals == [timedelta()]


async def test_an_error_is_told_though_the_ledger_is_away() -> None:
    ledger = Ledger(away=9)
    with pytest.raises(ValueError, match="broken"):
        async with renewing_lease(ledger.renew, timedelta(seconds=30)):
            raise ValueError("broken")

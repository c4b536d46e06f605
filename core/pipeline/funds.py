"""Waking what waits for credits, or for room in a budget: after a grant, a raised budget, or the
end of another batch, and when a shard has cost less than it was expected to.

In: an account, or a batch that has changed. Out: submit steps on the bus, in fair order. What can
go wrong: a wake is lost; the sweep makes it good, and finds that a new month has begun.
"""

from __future__ import annotations

from core.bus import Step
from core.ledger import Batch, Ledger
from core.pipeline.publishing import EventPublisher

AT_ONCE = 32
"""Shards; each that goes wakes the next one."""


class WaitingForFunds:
    """The shards that wait, of all accounts."""

    def __init__(self, ledger: Ledger, publisher: EventPublisher) -> None:
        self._ledger = ledger
        self._publisher = publisher

    async def account(self, account_id: str) -> None:
        """The account, or one of its keys, may spend more than before."""
        await self._wake(account_id, AT_ONCE)

    async def next(self, account_id: str) -> None:
        """One that waited has gone: there may be enough for another."""
        await self._wake(account_id, 1)

    async def batch(self, batch: Batch) -> None:
        """One of its shards has settled: what was held for it is free, where it cost less."""
        if batch.reserved_nanos:
            await self._wake(batch.account_id, AT_ONCE, batch.id)

    async def _wake(self, account_id: str, most: int, batch_id: str = "") -> None:
        for shard in await self._ledger.funds.waiting(account_id, most, batch_id):
            await self._publisher.enqueue(Step.SUBMIT, shard.batch_id, shard.id)

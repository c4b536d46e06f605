"""Pauses in the services: what is kept from being sent, and waking it again.

In: a batch or a provider that is resumed, or a run that has to know whether it may begin a line.
Out: work items for all that waited; an answer that is half a second old at the most. What can go
wrong: a wake is lost; the sweep finds what is overdue.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from core.bus import Step
from core.ledger import Batch, HeldShard, Kept, Ledger, Shard, waits_for_canary
from core.pipeline.publishing import EventPublisher

FRESH = 0.5
"""Seconds; with the pause between two questions, less than a second."""
_PAGE = 500


class HeldShards:
    """Wakes what a pause kept."""

    def __init__(self, ledger: Ledger, publisher: EventPublisher) -> None:
        self._ledger = ledger
        self._publisher = publisher

    async def of_batch(self, batch_id: str) -> None:
        """A batch goes on."""
        await self._wake(await self._ledger.pauses.of_batch(batch_id))

    async def of_provider(self, provider: str) -> None:
        """A provider may have work again."""
        page = await self._ledger.pauses.of_provider(provider, _PAGE)
        while page:
            await self._wake(page)
            page = await self._ledger.pauses.of_provider(provider, _PAGE, page[-1].id)

    async def _wake(self, shards: Sequence[HeldShard]) -> None:
        # Together: one by one each would cost a round trip to the bus.
        for start in range(0, len(shards), _PAGE):
            await asyncio.gather(
                *(
                    self._publisher.enqueue(
                        Step.RUN if each.running else Step.SUBMIT, each.batch_id, each.id
                    )
                    for each in shards[start : start + _PAGE]
                )
            )


class PauseWatch:
    """What must not be begun, as one process knows it: one look for all that runs in it."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._followed: Counter[str] = Counter()
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._kept = Kept(frozenset(), frozenset(), frozenset())

    @contextmanager
    def following(self, batch_id: str) -> Iterator[None]:
        """Have a batch looked at for the length of the block."""
        self._followed[batch_id] += 1
        # What was read before does not know of it.
        self._looked_at = float("-inf")
        try:
            yield
        finally:
            self._followed[batch_id] -= 1
            if not self._followed[batch_id]:
                del self._followed[batch_id]

    async def keep(self, batch: Batch, shard: Shard) -> bool:
        """Whether nothing of a shard, of a batch as it was read, may be sent now.

        For whoever would read and translate lines in vain: the ledger decides. Raises
        LedgerUnavailable.
        """
        if batch.stop or batch.halt_code:
            return False
        if batch.paused_at is not None or waits_for_canary(batch, shard):
            return True
        return shard.provider in (await self.kept()).providers

    async def kept(self) -> Kept:
        """What is paused or halted, of the batches that are followed and of all providers.

        Raises LedgerUnavailable.
        """
        async with self._looking:
            if self._clock() - self._looked_at >= FRESH:
                looked_at = self._clock()
                self._kept = await self._ledger.pauses.kept([*self._followed])
                self._looked_at = looked_at
            return self._kept

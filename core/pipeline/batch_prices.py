"""What the models of a batch cost, as it was kept when the batch was made."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.ledger import Batch, File, Ledger
from core.pipeline.backfill import Backfill
from core.pipeline.file_prices import FilePrices
from core.prices.rates import Price, Processing
from core.prices.snapshot import Snapshot, read_snapshot

if TYPE_CHECKING:
    # It brings in all published prices, which who only prices lines does without.
    from core.prices.table import Asked

_REMEMBERED = 16
"""Batches. A snapshot is about a kilobyte a model; files may name thousands, and most name one."""


@dataclass(frozen=True, slots=True)
class PricedModel:
    """A model of a file."""

    name: str
    """As named in the file."""
    price: Price | None
    """None: unpriced."""


class BatchPrices:
    """Prices of the lines of batches, by the groups of their files."""

    def __init__(self, ledger: Ledger, prices: FilePrices, backfill: Backfill) -> None:
        self._ledger = ledger
        self._prices = prices
        self._backfill = backfill
        self._remembered: OrderedDict[tuple[str, bool], Mapping[int, PricedModel]] = OrderedDict()

    async def of(
        self, batch: Batch, file: File, *, rescued: bool = False
    ) -> Mapping[int, PricedModel]:
        """By number of the group in the file's list. Raises LedgerUnavailable, BadSnapshot.

        `rescued`: of lines that are called one by one before the window closes.
        """
        found = self._remembered.get((batch.id, rescued))
        if found is None:
            found = await self._read(batch, file, rescued=rescued)
            self._remembered[batch.id, rescued] = found
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return found

    async def rescue_prices(
        self, batch: Batch, file: File, provider: str
    ) -> Mapping[int, PricedModel] | None:
        """What lines at a provider will cost if they come to be rescued; None: they cannot."""
        if batch.rescue_seconds is None or not self._prices.can_rescue(provider, batch.endpoint):
            return None
        return await self.of(batch, file, rescued=True)

    async def _read(self, batch: Batch, file: File, *, rescued: bool) -> Mapping[int, PricedModel]:
        stored = await self._ledger.batches.prices(batch.id)
        if stored is None:
            # Made by a release that kept none.
            stored = await self._backfill.batch(batch)
        snapshot = read_snapshot(stored)
        asked = [
            await self._asked(group["provider"], group["model"], rescued=rescued)
            for group in file.groups
        ]
        return {
            number: PricedModel(group["model"], _kept(snapshot, asked, number))
            for number, group in enumerate(file.groups)
        }

    async def _asked(self, provider: str, model: str, *, rescued: bool) -> Asked:
        provider, remote, how = await self._prices.asked(provider, model)
        return provider, remote, Processing.REAL_TIME if rescued else how


def _kept(snapshot: Snapshot, asked: Sequence[Asked], number: int) -> Price | None:
    provider, model, how = asked[number]
    try:
        found = snapshot.price(provider, model, how)
    except KeyError:
        # No line of this group is sent; or this release knows the model by another id than the
        # one that made the batch, and the price that nobody else asks for is its.
        left = [
            each
            for each in snapshot.prices
            if (each.provider, each.processing) == (provider, how)
            and (each.provider, each.model, each.processing) not in asked
        ]
        if len(left) != 1:
            return None
        found = left[0]
    return found if isinstance(found, Price) else None

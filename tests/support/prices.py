"""Prices that tests can reckon with in the head."""

from __future__ import annotations

from array import array
from datetime import date
from typing import Any

from core.ledger import Ledger
from core.pipeline import Adapters, Backfill, BatchPrices, FilePrices, PricedModel, Runtime
from core.prices.rates import Band, Price, Processing, Rates
from core.prices.snapshot import Snapshot
from core.prices.table import PriceTable
from core.providers import KnownProviders, known_providers
from core.settings import ProviderAccess, Settings
from services.collector.tally import Tally
from services.dispatcher.cost_limit import CostLimit

# In nano-dollars a million tokens: 2 nano-dollars a token in, 3 out.
RATES: dict[str, int | None] = {"input": 2_000_000, "output": 3_000_000}


def price(provider: str = "openai", model: str = "m", **rates: int) -> Price:
    """Of a model in batches."""
    return Price(
        provider=provider,
        model=model,
        processing=Processing.BATCH,
        day=date(2026, 11, 28),
        bands=(Band(-1, Rates(**(RATES | rates)).resolved()),),
        origins=(),
    )


def snapshot(*prices: Price) -> str:
    """As it is kept with a batch."""
    return Snapshot(day=date(2026, 11, 28), prices=prices or (price(),)).encode().decode()


def tally(lines: int, found: Price | None = None) -> Tally:
    """For lines of one model; unpriced without a price."""
    return Tally(array("H", [0] * lines), {0: PricedModel("openai/m", found)})


def file_prices(ledger: Ledger, known: KnownProviders | None = None) -> FilePrices:
    """Published prices, of the providers that are built in."""
    if known is None:
        access: dict[str, Any] = {"openai_api_key": "k"}
        known = known_providers(ProviderAccess.model_validate(access), Settings())
    return FilePrices(PriceTable(), known, Adapters(known), ledger)


def batch_prices(ledger: Ledger, known: KnownProviders | None = None) -> BatchPrices:
    """What batches keep, read as the collector does."""
    prices = file_prices(ledger, known)
    return BatchPrices(ledger, prices, Backfill(ledger, prices))


def cost_limit(runtime: Runtime, known: KnownProviders | None = None) -> CostLimit:
    """As the dispatcher has it."""
    return CostLimit(
        runtime.ledger,
        runtime.blobs,
        batch_prices(runtime.ledger, known),
        assumed_output=runtime.settings.assumed_output_tokens,
        segment_bytes=runtime.settings.segment_bytes,
    )

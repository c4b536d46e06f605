"""Batches from before prices and costs were kept: prices of the day on which they were made, and
what their settled shards cost.

Of such a shard only the sums of its tokens are known, under one model: which of its prompts were
long enough for a higher tier, and what was written to a cache, is not. So it is reckoned at the
rates of short prompts, which is the least that it can have cost (docs/money.md).

In: a ledger. Out: its old batches with prices, costs and rows of usage. What can go wrong: the
database is away (it goes on from where it was), or another collector does the same at the same time
(each batch is written once).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import msgspec
import structlog

from core.ledger import Batch, Ledger, LedgerUnavailable, ModelSpend, Shard
from core.pipeline.file_prices import FilePrices
from core.prices.rates import Price
from core.prices.snapshot import Snapshot, read_snapshot
from core.prices.usage import Usage

log = structlog.get_logger()

_PAGE = 100
_SHARDS = 100
"""Of one transaction."""
_PAUSE = 5.0


class Backfill:
    """Reckons old batches."""

    def __init__(self, ledger: Ledger, prices: FilePrices) -> None:
        self._ledger = ledger
        self._prices = prices

    async def run(self, stop: asyncio.Event) -> None:
        """See to all batches that wait for it, or until `stop` is set."""
        after, done = "", 0
        while not stop.is_set():
            try:
                waiting = await self._ledger.backfills.waiting(after, _PAGE)
                if not waiting:
                    break
                for batch in await self._ledger.batches.get_many(waiting):
                    await self.batch(batch)
                    done += 1
                after = waiting[-1]
            except LedgerUnavailable as error:
                log.warning("backfill_waits", cause=str(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _PAUSE)
        if done:
            log.info("old_batches_reckoned", batches=done)

    async def batch(self, batch: Batch) -> str:
        """See to one batch; returns its prices, as core.prices.snapshot reads them."""
        shards = await self._ledger.shards.of_batch(batch.id)
        models = {(shard.provider, shard.model) for shard in shards}
        stored = await self._ledger.batches.prices(batch.id)
        if stored is None:
            snapshot = await self._snapshot(batch, models)
            stored = await self._ledger.backfills.keep_prices(batch.id, snapshot.encode().decode())
        prices = await self._of_models(read_snapshot(stored), models)

        def spend_of(shard: Shard) -> ModelSpend:
            return _reckoned(shard, prices[shard.provider, shard.model])

        while await self._ledger.backfills.reckon(batch.id, spend_of, _SHARDS):
            pass
        return stored

    async def _snapshot(self, batch: Batch, models: set[tuple[str, str]]) -> Snapshot:
        day = batch.created_at.date()
        file = await self._ledger.files.get_input(batch)
        if file is None:
            return await self._prices.of_groups(batch.account_id, models, day)
        return await self._prices.of_file(
            batch.account_id, file, day, lenient=batch.lenient_translation
        )

    async def _of_models(
        self, snapshot: Snapshot, models: set[tuple[str, str]]
    ) -> Mapping[tuple[str, str], Price | None]:
        found: dict[tuple[str, str], Price | None] = {}
        for provider, model in models:
            try:
                price = snapshot.price(*await self._prices.asked(provider, model))
            except KeyError:
                price = None
            found[provider, model] = price if isinstance(price, Price) else None
        return found


def _reckoned(shard: Shard, price: Price | None) -> ModelSpend:
    usage = Usage(
        input=shard.input_tokens,
        cached_input=shard.cached_input_tokens,
        output=shard.output_tokens,
        reasoning=shard.reasoning_tokens,
    )
    answered = shard.succeeded + shard.failed - shard.cancelled - shard.expired
    cost = 0
    if price is not None:
        cost = msgspec.structs.replace(price, bands=price.bands[:1]).cost(usage)
    return ModelSpend(
        model=shard.model,
        lines=answered,
        unpriced_lines=0 if price is not None else answered,
        input_tokens=usage.input,
        cached_input_tokens=usage.cached_input,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        cost_nanos=cost,
    )

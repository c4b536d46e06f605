"""What models cost an account, on a day, in the way they will be run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from core.pipeline.file_prices import FilePrices
from core.prices.rates import Processing
from core.prices.snapshot import Snapshot
from core.prices.table import Asked
from core.providers import CATALOGUE

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings")
"""Of lines that a model without a provider may be meant for, as a line's would be."""


class Pricing(FilePrices):
    """The same of single models and of all, for whoever asks for prices."""

    async def of_model(self, account_id: str, model: str, day: date) -> Snapshot:
        """Of one model, "provider/model" or a model alone, of each provider it may be meant of.

        Of those with batches the price in real time too. Empty where no provider may be meant.
        """
        prefix, slash, _ = model.partition("/")
        providers = [prefix] if slash and prefix in self._known.rules else self._meant(model)
        found = [(name, await self._adapters.remote_model(name, model)) for name in providers]
        return await self.of(account_id, self._both(found), day)

    async def of_all(self, account_id: str, day: date) -> Snapshot:
        """Of the models of the catalogue and those that the prices file names.

        Its patterns are shown where they price something by themselves.
        """
        found = {(name, model) for name in self._known.rules for model in CATALOGUE.ids(name)}
        for name in self._known.rules:
            for model in self._table.models(name):
                found.add(
                    (name, model)
                    if "*" in model
                    else (name, await self._adapters.remote_model(name, model))
                )
        prices = await self.of(account_id, self._both(sorted(found)), day)
        unknown = {each for each in prices.unpriced() if "*" in each.model}
        return Snapshot(
            day=day, prices=tuple(each for each in prices.prices if each not in unknown)
        )

    def _meant(self, model: str) -> list[str]:
        meant = {name for url in ENDPOINTS for name in self._known.infer(model, url)}
        return sorted(meant)

    def _both(self, models: Iterable[tuple[str, str]]) -> Iterable[Asked]:
        for provider, model in models:
            if provider not in self._known.line_by_line:
                yield provider, model, Processing.BATCH
            yield provider, model, Processing.REAL_TIME

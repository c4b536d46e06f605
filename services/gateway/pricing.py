"""What the models of a file cost an account, on a day, in the way they will be run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from core.ledger import File, Ledger
from core.prices.rates import Processing
from core.prices.snapshot import Snapshot
from core.prices.table import Asked, PriceTable
from core.providers import CATALOGUE, KnownProviders
from services.gateway.adapters import Adapters

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings")
"""Of lines that a model without a provider may be meant for, as a line's would be."""


class Named(NamedTuple):
    """A model of a file."""

    provider: str
    model: str
    """As lines name it."""
    remote_model: str
    """The provider's id of it."""


class Pricing:
    """The price table, asked for accounts and by the names that users give to models."""

    def __init__(
        self, table: PriceTable, known: KnownProviders, adapters: Adapters, ledger: Ledger
    ) -> None:
        self._table = table
        self._known = known
        self._adapters = adapters
        self._ledger = ledger

    async def of_file(
        self,
        account_id: str,
        file: File,
        day: date,
        *,
        lenient: bool = False,
        real_time: bool = False,
    ) -> Snapshot:
        """Of all models that a batch of the file will send lines to.

        `lenient`: with the lines that only a lenient batch takes. `real_time`: with the prices
        of real-time calls of the same models.
        """
        asked = {
            (provider, remote, how)
            for provider, _, remote in await self.named(file, lenient=lenient)
            for how in (self.how(provider), *([Processing.REAL_TIME] if real_time else []))
        }
        return await self.of(account_id, sorted(asked), day)

    async def named(self, file: File, *, lenient: bool = False) -> list[Named]:
        """The models that a batch of the file will send lines to."""
        groups = {
            (group["provider"], group["model"])
            for group in file.groups
            if group["lines"] or (lenient and group.get("lenient_lines"))
        }
        return [
            Named(provider, model, await self._adapters.remote_model(provider, model))
            for provider, model in sorted(groups)
        ]

    def how(self, provider: str) -> Processing:
        """How lines of a batch are run at a provider."""
        direct = provider in self._known.line_by_line
        return Processing.REAL_TIME if direct else Processing.BATCH

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

    async def of(self, account_id: str, asked: Iterable[Asked], day: date) -> Snapshot:
        """Of models by the providers' ids, with the account's mark-up."""
        account = await self._ledger.accounts.name(account_id)
        # Thousands of models that are looked for in vain take a second.
        return await asyncio.to_thread(self._table.snapshot, list(asked), day, account)

    def _meant(self, model: str) -> list[str]:
        meant = {name for url in ENDPOINTS for name in self._known.infer(model, url)}
        return sorted(meant)

    def _both(self, models: Iterable[tuple[str, str]]) -> Iterable[Asked]:
        for provider, model in models:
            if provider not in self._known.line_by_line:
                yield provider, model, Processing.BATCH
            yield provider, model, Processing.REAL_TIME

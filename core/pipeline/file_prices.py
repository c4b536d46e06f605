"""What the models of a file cost an account, on a day, in the way they will be run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from core.ledger import File, Ledger
from core.pipeline.adapters import Adapters
from core.prices.rates import Processing
from core.prices.snapshot import Snapshot
from core.providers import KnownProviders

if TYPE_CHECKING:
    # It brings in all published prices, which who only prices lines does without.
    from core.prices.table import Asked, PriceTable


class Named(NamedTuple):
    """A model of a file."""

    provider: str
    model: str
    """As lines name it."""
    remote_model: str
    """The provider's id of it."""


class FilePrices:
    """The price table, asked by the names that users give to models."""

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
        rescue: bool = False,
    ) -> Snapshot:
        """Of all models that a batch of the file will send lines to.

        `lenient`: with the lines that only a lenient batch takes. `real_time`: with the prices
        of real-time calls of the same models. `rescue`: with those of models whose lines can be
        called one by one.
        """
        asked = set()
        for provider, _, remote in await self.named(file, lenient=lenient):
            asked.add((provider, remote, self.how(provider)))
            if real_time or (rescue and self.can_rescue(provider, file.endpoint)):
                asked.add((provider, remote, Processing.REAL_TIME))
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

    def can_rescue(self, provider: str, endpoint: str) -> bool:
        """Whether lines at a provider with batches can be called one by one."""
        return endpoint in self._known.call_endpoints.get(provider, ())

    def how(self, provider: str) -> Processing:
        """How lines of a batch are run at a provider."""
        direct = provider in self._known.line_by_line
        return Processing.REAL_TIME if direct else Processing.BATCH

    async def of_groups(
        self, account_id: str, groups: Iterable[tuple[str, str]], day: date
    ) -> Snapshot:
        """Of models by provider and name in the file."""
        asked = {await self.asked(provider, model) for provider, model in groups}
        return await self.of(account_id, sorted(asked), day)

    async def asked(self, provider: str, model: str) -> Asked:
        """What a snapshot has the price of a file's model under."""
        return provider, await self._adapters.remote_model(provider, model), self.how(provider)

    async def of(self, account_id: str, asked: Iterable[Asked], day: date) -> Snapshot:
        """Of models by the providers' ids, with the account's mark-up."""
        account = await self._ledger.accounts.name(account_id)
        # Thousands of models that are looked for in vain take a second.
        return await asyncio.to_thread(self._table.snapshot, list(asked), day, account)

"""What has to be asked of the providers' adapters where no provider is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.providers import CATALOGUE, CallLimits, KnownProviders, ProviderLimits


@dataclass(frozen=True, slots=True)
class Adapter:
    """Of one usable provider."""

    limits: ProviderLimits
    call_limits: CallLimits | None
    """None: it has batches."""
    remote_model: Callable[[str], str]


class Adapters:
    """The adapters of the usable providers, each opened once, and closed again."""

    def __init__(self, known: KnownProviders) -> None:
        self._known = known
        self._found: Mapping[str, Adapter] | None = None
        self._reading = asyncio.Lock()

    async def read(self) -> Mapping[str, Adapter]:
        """What they say, by provider slug."""
        async with self._reading:
            if self._found is None:
                providers, direct = self._known.open(), self._known.open_direct()
                self._found = {
                    name: Adapter(each.limits, None, each.remote_model)
                    for name, each in providers.items()
                } | {
                    name: Adapter(each.limits, each.call_limits, each.remote_model)
                    for name, each in direct.items()
                }
                await asyncio.gather(
                    *(each.close() for each in providers.values()),
                    *(each.close() for each in direct.values()),
                )
            return self._found

    async def remote_model(self, provider: str, model: str) -> str:
        """The provider's id of a model; by the catalogue where there is no key for it."""
        adapter = (await self.read()).get(provider)
        return adapter.remote_model(model) if adapter else CATALOGUE.model(provider, model).id

"""Keys that their providers refuse: one cause for all lines of a provider, so asked about once.

A key that was wrong from the start, or was withdrawn, is not a fault of any line: what waits
for it waits until it works again, or until the window closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from core.providers import Provider, ProviderRejected, ProviderUnavailable

log = structlog.get_logger()


@dataclass(slots=True)
class _Refusal:
    code: str
    message: str
    asked_at: float
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProviderKeys:
    """Which keys are refused, as far as this process knows."""

    def __init__(self, variables: Mapping[str, str], *, recheck: float) -> None:
        """`variables`: KnownProviders.key_variables; `recheck`: seconds between two looks at a
        key that was refused."""
        self._variables = variables
        self._recheck = recheck
        self._refused: dict[str, _Refusal] = {}

    def note(self, provider: str, code: str, message: str) -> None:
        """Take in that a provider has refused its key."""
        known = self._refused.get(provider)
        if known is None:
            log.error("provider_key_refused", provider=provider, reason=self.say(provider, code))
        moment = asyncio.get_running_loop().time()
        self._refused[provider] = _Refusal(code, message, moment)

    async def refusal(self, provider: Provider, *, fresh: bool = False) -> tuple[str, str] | None:
        """Code and message of a refusal that holds; None while nothing speaks against the key.

        A key that was refused is tried now and then, with a call that costs nothing; `fresh`:
        before it is believed.
        """
        known = self._refused.get(provider.name)
        if known is None:
            return None
        async with known.asking:
            loop = asyncio.get_running_loop()
            if self._refused.get(provider.name) is known and (
                fresh or loop.time() - known.asked_at >= self._recheck
            ):
                await self._ask(provider, known)
        held = self._refused.get(provider.name)
        return (held.code, held.message) if held else None

    async def check(self, provider: Provider) -> None:
        """Try a key before it is needed."""
        try:
            await provider.check()
        except ProviderRejected as error:
            if error.access:
                self.note(provider.name, error.code, error.message)
        except ProviderUnavailable as error:
            log.warning("provider_not_reached", provider=provider.name, cause=str(error))

    async def _ask(self, provider: Provider, known: _Refusal) -> None:
        try:
            await provider.check()
        except ProviderRejected as error:
            if error.access:
                known.asked_at = asyncio.get_running_loop().time()
                return
        except ProviderUnavailable:
            # Whether the key works is not known, and the next look says.
            known.asked_at = asyncio.get_running_loop().time()
            return
        del self._refused[provider.name]
        log.info("provider_key_accepted", provider=provider.name)

    def say(self, provider: str, code: str) -> str:
        """What to tell people of a refused key; the provider's own text may quote it."""
        variable = self._variables.get(provider)
        remedy = f"set {variable} to one that works and restart" if variable else "mend it"
        return f"{provider} refuses its key ({code}): {remedy}; what is unsent waits until then"

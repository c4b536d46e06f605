"""Keys that their providers refuse: one cause for all lines of a provider, so asked about once.

A key that was wrong from the start, or was withdrawn, is not a fault of any line: what waits
for it waits until it works again, or until the window closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import structlog

from core.ledger import Ledger, LedgerUnavailable
from core.providers import Provider, ProviderRejected, ProviderUnavailable

log = structlog.get_logger()


class Checked(Protocol):
    """An adapter whose key can be tried."""

    name: str

    async def check(self) -> None:
        """As Provider.check."""
        ...


@dataclass(slots=True)
class _Refusal:
    code: str
    message: str
    asked_at: float
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProviderKeys:
    """Which keys are refused, as far as this process knows."""

    def __init__(
        self,
        variables: Mapping[str, str],
        *,
        recheck: float,
        ledger: Ledger | None = None,
        credentials: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`variables`, `credentials`: KnownProviders.key_variables and .credentials; `recheck`:
        seconds between two looks at a key that was refused; `ledger`: where what is found is
        kept for others to show."""
        self._variables = variables
        self._recheck = recheck
        self._ledger = ledger
        self._credentials = credentials
        self._refused: dict[str, _Refusal] = {}

    async def note(self, provider: str, code: str, message: str) -> None:
        """Take in that a provider has refused its key."""
        known = self._refused.get(provider)
        moment = asyncio.get_running_loop().time()
        self._refused[provider] = _Refusal(code, message, moment)
        if known is None:
            log.error("provider_key_refused", provider=provider, reason=self.say(provider, code))
        if known is None or known.code != code:
            await self._keep(provider, code or "refused_key")

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

    async def check(self, provider: Checked) -> None:
        """Try a key before it is needed."""
        try:
            await provider.check()
        except ProviderRejected as error:
            if error.access:
                await self.note(provider.name, error.code, error.message)
            else:
                # Such as a server without the address that was asked: nothing of the key.
                log.info("provider_key_not_tried", provider=provider.name, code=error.code)
        except ProviderUnavailable as error:
            log.warning("provider_not_reached", provider=provider.name, cause=str(error))
        else:
            await self._keep(provider.name)

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
        await self._keep(provider.name)

    async def _keep(self, provider: str, code: str = "") -> None:
        """Let the others know; `code`: of a refusal."""
        credential = self._credentials.get(provider)
        if self._ledger is None or credential is None:
            return
        try:
            await self._ledger.keys.keep(provider, credential, code=code)
        except LedgerUnavailable as error:
            # Only what is shown hangs on it, and the next start tries the key again.
            log.warning("key_state_not_kept", provider=provider, cause=str(error))

    def say(self, provider: str, code: str) -> str:
        """What to tell people of a refused key; the provider's own text may quote it."""
        variable = self._variables.get(provider)
        remedy = f"set {variable} to one that works and restart" if variable else "fix it"
        return f"{provider} refuses its key ({code}): {remedy}; what is unsent waits until then"

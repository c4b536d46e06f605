"""How often a repeatable call to a provider is tried, and how long is waited in between.

Not tenacity or stamina: what decides is the provider's Retry-After, which binds all calls of a
key and not this one (holds.py).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import structlog

from core.providers.contract import ProviderRejected, ProviderUnavailable

log = structlog.get_logger()

ATTEMPTS = 3
FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
"""A Retry-After beyond this is handed to the caller, who can wait without holding on."""


class Patience:
    """That of one call."""

    def __init__(self, where: str, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._where = where
        self._sleep = sleep
        self._delay = FIRST_DELAY
        self._attempts = 0

    async def after(self, failure: ProviderUnavailable | ProviderRejected) -> None:
        """Wait before the next try. Raises the failure where there should be none."""
        self._attempts += 1
        if isinstance(failure, ProviderRejected) or self._attempts >= ATTEMPTS:
            raise failure
        if failure.retry_after is None:
            # Spread: many tasks that failed together should not come back together.
            await self._sleep(self._delay * random.uniform(0.5, 1.0))
            self._delay = min(2 * self._delay, LONGEST_DELAY)
        elif failure.retry_after > LONGEST_DELAY:
            raise failure
        log.debug("provider_call_repeated", call=self._where, attempt=self._attempts)

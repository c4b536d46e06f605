"""Obeying a provider that wants no calls for a while, whatever their kind."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from core.providers.contract import ProviderUnavailable
from core.providers.http.holds import CredentialHold
from core.providers.http.retries import LONGEST_DELAY
from core.providers.http.transport import Reply


class Pacing:
    """The calls of one key, which wait for the end of its hold; a long one is refused."""

    def __init__(
        self,
        hold: CredentialHold,
        say: Callable[[str, str], str],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`say`: what happened in an exchange, human-readable and without the key."""
        self._hold = hold
        self._say = say
        self._sleep = sleep

    @property
    def left(self) -> float:
        """Seconds until a call may be made; 0 if it may be now."""
        return self._hold.left

    def heed(self, reply: Reply) -> None:
        """Remember for how long the provider wants no more calls."""
        if not reply.ok and reply.retry_after:
            self._hold.note(reply.retry_after)

    async def wait(self, where: str) -> float:
        """Wait as long as the provider wants no calls; returns the moment that it waited for.

        Raises ProviderUnavailable if that is too long to hold on.
        """
        waited_for = 0.0
        # Waited for once each: timers may be early, and a hold may become longer meanwhile.
        while (until := self._hold.until) > waited_for:
            waited_for, left = until, self._hold.left
            if left > LONGEST_DELAY:
                raise ProviderUnavailable(self.not_sent(where), left)
            # Spread, for those who wait are many.
            await self._sleep(left * random.uniform(1.0, 1.1))
        return waited_for

    def became_longer(self, waited_for: float) -> bool:
        """Whether another call was told to wait since `wait` has returned this moment."""
        return self._hold.until > waited_for

    def not_sent(self, where: str) -> str:
        """Why a call was not made."""
        return self._say(where, f"not sent: {self._hold}")

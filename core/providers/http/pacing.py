"""Obeying a provider that wants no calls for a while, whatever their kind, or answers none."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from core.providers.contract import ProviderUnavailable
from core.providers.http.holds import CredentialHold


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

    @property
    def away(self) -> bool:
        """Whether no call may be made because all of them fail."""
        return self._hold.away

    def begin(self) -> None:
        """A call is about to be made that has not waited."""
        self._hold.probe()

    async def wait(self, where: str) -> float:
        """Wait until a call may be made, which is about to be: until then no other one is, where
        all of them fail. Returns the moment up to which calls are held back.

        Raises ProviderUnavailable if that is too long to hold on.
        """
        waited_for = 0.0
        # Waited for once each: timers may be early, and a hold may become longer meanwhile.
        while (until := self._hold.until) > waited_for:
            waited_for = until
            if self._hold.long:
                raise ProviderUnavailable(self.not_sent(where), self._hold.left)
            # Spread, for those who wait are many.
            await self._sleep(self._hold.left * random.uniform(1.0, 1.1))
        self._hold.probe()
        return max(waited_for, self._hold.until)

    def became_longer(self, waited_for: float) -> bool:
        """Whether another call was told to wait since `wait` has returned this moment."""
        return self._hold.until > waited_for

    def not_sent(self, where: str) -> str:
        """Why a call was not made."""
        return self._say(where, f"not sent: {self._hold}")

"""A process's record of Retry-After deadlines: until when a provider wants no call.

A provider that says so counts by key, not by kind of call, so a hold binds every call with
the key that was told: polls, creates, uploads, downloads, cancels, deletions, single calls.
Moments are of the wall clock (seconds since 1970): they are shared with other processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

log = structlog.get_logger()

_LONG = 600.0
"""Seconds; a longer hold stops a provider for so long that its operator should hear of it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """No call to a provider with a credential before a moment."""

    provider: str
    credential: str
    """As KnownProviders.credentials names it; empty where there is no key."""
    until: float
    """Seconds since 1970."""


class Holds:
    """The holds that this process knows of. Of two for one credential the later one counts."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._until: dict[tuple[str, str], float] = {}
        self.on_told: Callable[[Hold], None] | None = None
        """Called with what a provider has told this process, for others to hear of it."""

    def until(self, provider: str, credential: str) -> float:
        """The moment before which no call may be made; 0 where there is no hold."""
        until = self._until.get((provider, credential), 0.0)
        if until and until <= self.now():
            del self._until[provider, credential]
            return 0.0
        return until

    def learn(self, hold: Hold) -> bool:
        """Take in a hold, whoever was told it. False where it changes nothing."""
        if hold.until <= max(self.now(), self.until(hold.provider, hold.credential)):
            return False
        self._until[hold.provider, hold.credential] = hold.until
        return True

    def tell(self, hold: Hold) -> None:
        """Take in what a provider has just said to this process, and pass it on."""
        if not self.learn(hold):
            return
        seconds = hold.until - self.now()
        say = log.warning if seconds > _LONG else log.info
        say("provider_holds", provider=hold.provider, seconds=round(seconds, 1))
        if self.on_told is not None:
            self.on_told(hold)

    def of(self, provider: str, credential: str) -> CredentialHold:
        """The hold of one credential, for its adapter."""
        return CredentialHold(self, provider, credential)


class CredentialHold:
    """The hold of one provider's one credential, as its adapter sees it."""

    def __init__(self, holds: Holds, provider: str, credential: str) -> None:
        self._holds = holds
        self._provider = provider
        self._credential = credential

    @classmethod
    def alone(cls) -> CredentialHold:
        """One that nobody shares."""
        return Holds().of("", "")

    @property
    def until(self) -> float:
        """The moment before which no call may be made; 0 where there is no hold."""
        return self._holds.until(self._provider, self._credential)

    @property
    def left(self) -> float:
        """Seconds until a call may be made; 0 if it may be now."""
        until = self.until
        return max(until - self._holds.now(), 0.0) if until else 0.0

    def note(self, seconds: float) -> None:
        """The provider has asked to wait for so long."""
        until = self._holds.now() + seconds
        self._holds.tell(Hold(self._provider, self._credential, until))

    def __str__(self) -> str:
        """What it asks for, human-readable: the same text for as long as it is the same hold."""
        end = datetime.fromtimestamp(self.until, UTC)
        return f"the provider asked for no call before {end:%Y-%m-%d %H:%M:%S} UTC"

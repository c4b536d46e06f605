"""A process's record of until when providers want no call, or are not worth one.

A provider that asks to wait (Retry-After) counts by key, not by kind of call, so a hold binds every
call with the key that was told: polls, creates, uploads, downloads, cancels, deletions, single
calls. So does an outage, in which all calls of a key fail (outages.py).
Moments are of the wall clock (seconds since 1970): they are shared with other processes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from core.providers.http.outages import Outage
from core.providers.http.retries import LONGEST_DELAY

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
    """Seconds since 1970; 0: an outage is over."""
    outage: Outage | None = None
    """Why, where the provider has not asked for it."""

    @property
    def asked_for(self) -> bool:
        """Whether the provider has named the moment."""
        return self.until > 0 and self.outage is None


class Holds:
    """The holds that this process knows of. Of two for one credential the later one counts."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._until: dict[tuple[str, str], float] = {}
        self._outages: defaultdict[tuple[str, str], Outage] = defaultdict(Outage)
        self.on_told: Callable[[Hold], None] | None = None
        """Called with what this process has learned from a provider, for others to hear of it."""

    def until(self, provider: str, credential: str) -> float:
        """The moment before which no call may be made; 0 where there is no hold."""
        return max(self._asked(provider, credential), self._away(provider, credential))

    def _asked(self, provider: str, credential: str) -> float:
        until = self._until.get((provider, credential), 0.0)
        if until and until <= self.now():
            del self._until[provider, credential]
            return 0.0
        return until

    def _away(self, provider: str, credential: str) -> float:
        outage = self._outages[provider, credential]
        return outage.until if outage.binds and outage.until > self.now() else 0.0

    def outage(self, provider: str, credential: str) -> Outage | None:
        """The outage for which no call may be made; None where there is none, or a longer hold."""
        away = self._away(provider, credential)
        outage = self._outages[provider, credential]
        return outage if away > self._asked(provider, credential) else None

    def learn(self, hold: Hold) -> bool:
        """Take in a hold, whoever was told it. False where it changes nothing."""
        key = (hold.provider, hold.credential)
        if not hold.until:
            return self._outages[key].answered()
        if hold.outage is not None:
            return self._outages[key].learn(hold.outage, self.now())
        if hold.until <= max(self.now(), self._asked(*key)):
            return False
        self._until[key] = hold.until
        return True

    def tell(self, hold: Hold) -> None:
        """Take in what a provider has just said to this process, and pass it on."""
        if not self.learn(hold):
            return
        seconds = hold.until - self.now()
        say = log.warning if seconds > _LONG else log.info
        say("provider_holds", provider=hold.provider, seconds=round(seconds, 1))
        self._pass_on(hold)

    def failed(self, provider: str, credential: str, began: float, cause: str) -> None:
        """A call that began at a moment has failed, and nobody says when to come again."""
        outage = self._outages[provider, credential]
        known = outage.pause > 0
        if not outage.failed(began, self.now(), cause):
            return
        if not known:
            log.warning("provider_away", provider=provider, cause=cause)
        self._pass_on_outage(provider, credential, outage)

    def probe(self, provider: str, credential: str) -> None:
        """A call is about to be made: in an outage, the only one for a while."""
        outage = self._outages[provider, credential]
        if outage.probe(self.now()):
            self._pass_on_outage(provider, credential, outage)

    def answered(self, provider: str, credential: str) -> None:
        """A call was answered."""
        outage = self._outages[provider, credential]
        if outage.answered():
            seconds = self.now() - outage.since
            log.warning("provider_back", provider=provider, seconds=round(seconds, 1))
            self._pass_on(Hold(provider, credential, 0.0))

    def _pass_on_outage(self, provider: str, credential: str, outage: Outage) -> None:
        self._pass_on(Hold(provider, credential, outage.until, replace(outage)))

    def _pass_on(self, hold: Hold) -> None:
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

    @property
    def long(self) -> float:
        """Seconds until a call may be made, where a call does not wait for so long; else 0."""
        left = self.left
        return left if left > LONGEST_DELAY else 0.0

    @property
    def away(self) -> bool:
        """Whether no call may be made because all of them fail."""
        return self._holds.outage(self._provider, self._credential) is not None

    @property
    def moment(self) -> float:
        """Now, as holds have it."""
        return self._holds.now()

    def note(self, seconds: float) -> None:
        """The provider has asked to wait for so long."""
        until = self._holds.now() + seconds
        self._holds.tell(Hold(self._provider, self._credential, until))

    def probe(self) -> None:
        """A call is about to be made."""
        self._holds.probe(self._provider, self._credential)

    def answered(self) -> None:
        """A call was answered, whatever the answer."""
        self._holds.answered(self._provider, self._credential)

    def failed(self, began: float, cause: str) -> None:
        """A call that began at a moment has failed, and nobody says when to come again.

        `cause`: human-readable, without anything of the call's content.
        """
        self._holds.failed(self._provider, self._credential, began, cause)

    def __str__(self) -> str:
        """Why no call is made, human-readable: the same text for as long as it is the same."""
        outage = self._holds.outage(self._provider, self._credential)
        if outage is not None:
            since = datetime.fromtimestamp(outage.since, UTC)
            return (
                f"every call has failed since {since:%Y-%m-%d %H:%M:%S} UTC ({outage.cause}); "
                "one at a time is tried, at most a minute after the other"
            )
        end = datetime.fromtimestamp(self.until, UTC)
        return f"the provider asked for no call before {end:%Y-%m-%d %H:%M:%S} UTC"

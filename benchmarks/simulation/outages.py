"""Whiles in which a made-up provider's server is away, and what is asked of it then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outage:
    """For a while nothing works."""

    start: float
    """Seconds from midnight."""
    seconds: float
    kind: str
    """unreachable: nobody is there; lost: what is asked may be done, and no answer comes;
    overloaded: 503 or 529; throttled: 429 with a Retry-After of two minutes."""


@dataclass(slots=True)
class Away:
    """An outage as the server saw it."""

    outage: Outage
    calls: Counter[str] = field(default_factory=Counter)
    """That came while it lasted, by kind."""
    noticed: float | None = None
    """Seconds from its end to the first call after it."""

    def sees(self, moment: float, kind: str) -> bool:
        """Take note of a call; whether it comes while the outage lasts."""
        after = moment - self.outage.start - self.outage.seconds
        if after >= 0:
            self.noticed = after if self.noticed is None else self.noticed
            return False
        if moment < self.outage.start:
            return False
        self.calls[kind] += 1
        return True

"""When a provider counts as away: nothing but failures, and nobody says when to come again.

After so many in a row, of whatever kind of call, no call is made for a second. Then one goes as a
probe, and the others wait for what comes of it. Each probe that fails doubles the pause, up to a
minute, and the first answer ends it: of an hour's outage a provider sees some seventy calls, and
its end is noticed within a minute. (pybreaker and its like know one process, and count what a
function raises.)
"""

from __future__ import annotations

from dataclasses import dataclass

FEWEST = 8
"""Failures in a row."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds."""


@dataclass(slots=True)
class Outage:
    """What a process knows of one credential. Moments in seconds since 1970."""

    failures: int = 0
    """Of this process, in a row; 0: its latest call was answered."""
    since: float = 0.0
    """When the first of them was, or that of the process that tells of it."""
    cause: str = ""
    """Of the latest one, human-readable."""
    pause: float = 0.0
    """Seconds between two probes; 0 while calls are made as ever."""
    until: float = 0.0
    """No call before; what it was is kept, so that news that comes late is told from fresh."""
    _changed: float = 0.0

    @property
    def binds(self) -> bool:
        """Whether calls are held back: what others tell counts once a call here has failed, too.

        So a process that alone has lost its way to a provider stops no other one.
        """
        return self.pause > 0 and self.failures > 0

    def failed(self, began: float, moment: float, cause: str) -> bool:
        """Note a call that failed. True where it makes the pause longer.

        One that began before the pause became what it is tells nothing new.
        """
        confirms = self.pause > 0 and not self.failures and moment < self.until
        if not self.failures and not self.pause:
            self.since = moment
        self.failures += 1
        self.cause = cause
        few = self.failures < FEWEST and not self.pause
        if confirms or few or began <= self._changed:
            return False
        self.pause = min(max(2 * self.pause, FIRST_PAUSE), LONGEST_PAUSE)
        self.until = moment + self.pause
        self._changed = moment
        return True

    def probe(self, moment: float) -> bool:
        """Note a call that is about to be made. True where it is a probe: no other one goes
        for as long as the pause, however long its answer takes."""
        if not self.binds:
            return False
        self.until = moment + self.pause
        return True

    def answered(self) -> bool:
        """Note an answer. True where it ends what held calls back."""
        ended, self.failures, self.pause = self.binds, 0, 0.0
        return ended

    def learn(self, other: Outage, moment: float) -> bool:
        """Take in what another process knows. False where it is no news."""
        if other.until <= max(self.until, moment):
            return False
        self.since, self.cause = other.since, other.cause
        self.pause, self.until = other.pause, other.until
        self._changed = moment
        return True

"""How many calls a provider gets at a time: as many as it bears.

Additive increase, multiplicative decrease, as TCP does it: one call more for each round
of good answers, half as many after a refusal or a lost answer. What the provider asks for
(Retry-After, a used-up rate limit) holds for all calls. No kept Python library does this
(aiolimiter and the like know fixed rates only).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

from core.backoff import backoff
from core.providers import CallLimits, Throttled

_FIRST_LIMIT = 4.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_SHOWN_PAUSE = 1.0
# Failures in a row that are each line's own, until they are taken for the provider's.
_STREAK = 8


class AdaptiveConcurrencyLimiter:
    """The calls to one provider from this process, whichever shards they are for.

    A call is admitted by `enter` or `try_enter`, first come, first served, and gives its
    place back by exactly one of `answered`, `failed`, `refused`, `lost` and `left`. These
    take the time at which the call began (the event loop's), so that calls that were
    under way at a cut do not cut again.
    """

    def __init__(self, call_limits: CallLimits) -> None:
        self._most = call_limits.max_concurrency
        self._limit = min(_FIRST_LIMIT, float(self._most))
        self._ramping = True
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        per_minute = call_limits.requests_per_minute
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._next_start = 0.0
        self._closed_until = 0.0
        self._cut_at = 0.0
        self._full_at = -1.0
        self._troubles = 0
        self._streak = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""

    @property
    def limit(self) -> int:
        """Calls that may be under way now."""
        return int(self._limit)

    @property
    def under_way(self) -> int:
        """Calls that are."""
        return self._under_way

    @property
    def reason(self) -> str:
        """Why no call may begin for a while, human-readable; empty when one may."""
        return self._reason if self._closed_until > _now() else ""

    async def enter(self) -> None:
        """Wait for a place."""
        if self.try_enter():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.left()
            raise

    def try_enter(self) -> bool:
        """Take a place if there is one now and nobody waits."""
        if self._waiting or self._under_way >= int(self._limit) or self._delay() > 0:
            return False
        self._begin()
        return True

    def answered(self, began: float, pause: float = 0.0) -> None:
        """The provider answered; `pause`: seconds for which it wants no further call."""
        self._troubles = self._streak = 0
        # Calls made below the limit are no evidence that it can rise.
        if self._full_at >= began >= self._cut_at:
            step = 1.0 if self._ramping else 1.0 / self._limit
            self._limit = min(self._limit + step, float(self._most))
        if pause > 0:
            self._close(pause, "its rate limit is used up")
        self.left()

    def failed(self, began: float, reason: str) -> None:
        """The provider answered with a transient error of the line's own."""
        self._streak += 1
        if self._streak >= _STREAK and began >= self._cut_at:
            self._trouble(began, reason)
        self.left()

    def refused(self, began: float, refusal: Throttled) -> None:
        """The call was not run."""
        if not refusal.reachable:
            # A provider that recovers from an outage starts cold.
            self._limit, self._ramping = 1.0, True
        self._trouble(began, refusal.reason, refusal.retry_after)
        self.left()

    def lost(self, began: float, reason: str) -> None:
        """No clear answer came."""
        self._trouble(began, reason)
        self.left()

    def left(self) -> None:
        """The call ended without telling anything of the provider."""
        self._under_way -= 1
        self._admit()

    def _trouble(self, began: float, reason: str, retry_after: float | None = None) -> None:
        first = began >= self._cut_at
        if first:
            self._cut_at = _now()
            # The first refusals of a ramp say where the limit lies: from here on, slowly.
            self._ramping = self._ramping and self._limit <= 1.0
            self._limit = max(1.0, self._limit / 2)
        if retry_after is not None:
            self._close(retry_after, reason)
        elif first:
            # Refusals that say how long they last do not make ours, for others, longer.
            self._troubles += 1
            pause = backoff(_FIRST_PAUSE, self._troubles, _LONGEST_PAUSE)
            self._close(pause * random.uniform(0.75, 1.0), reason)

    def _close(self, seconds: float, reason: str) -> None:
        until = _now() + seconds
        if until > self._closed_until:
            self._closed_until = until
            self._reason = reason if seconds >= _SHOWN_PAUSE else ""

    def _delay(self) -> float:
        """Seconds until a call may begin."""
        return max(self._closed_until, self._next_start) - _now()

    def _begin(self) -> None:
        self._under_way += 1
        if self._under_way >= int(self._limit):
            self._full_at = _now()
        if self._interval:
            self._next_start = max(self._next_start, _now()) + self._interval

    def _admit(self) -> None:
        """Let in those who wait, as far as there is room."""
        while self._waiting and self._under_way < int(self._limit):
            delay = self._delay()
            if delay > 0:
                if self._timer is None:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(delay, self._reopen)
                return
            turn = self._waiting.popleft()
            if not turn.done():
                self._begin()
                turn.set_result(None)

    def _reopen(self) -> None:
        self._timer = None
        self._admit()


def _now() -> float:
    return asyncio.get_running_loop().time()

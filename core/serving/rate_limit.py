"""Interceptor: how many calls an account may begin in a second.

A token bucket of twenty lines, and not a library (limits, pyrate-limiter): those wait or lock,
where an interceptor has to refuse at once with the time to come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from core.serving.api_error import ApiError
from core.serving.interceptor import CallInterceptor, Context, Proceed
from core.serving.principal import calling

BURST_SECONDS = 10.0
_TIDY_AT = 10_000


class RateLimiter:
    """So many per second for each account, and those of ten seconds at once.

    Each account has the moment up to which its share is used up: one float, no timers
    (known as the generic cell rate algorithm).
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._each = 1 / per_second
        self._burst = max(BURST_SECONDS, self._each)
        self._used_up_to: dict[str, float] = {}

    def take(self, account_id: str) -> float:
        """Take one. Returns 0, or the seconds until there is one to take, taking none."""
        now = self._clock()
        used = max(self._used_up_to.get(account_id, now), now) + self._each
        wait = used - now - self._burst
        # Less than that is the rounding of many sums.
        if wait > 1e-6:
            return wait
        if len(self._used_up_to) >= _TIDY_AT and account_id not in self._used_up_to:
            self._used_up_to = {
                account: moment for account, moment in self._used_up_to.items() if moment > now
            }
        self._used_up_to[account_id] = used
        return 0.0


class RateLimitInterceptor(CallInterceptor):
    """Refuses the calls of an account that begins too many."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._rate = RateLimiter(per_second)

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        principal = calling.get()
        if principal is not None and (wait := self._rate.take(principal.account_id)):
            raise ApiError.resource_exhausted(
                "REQUEST_RATE_LIMIT",
                f"the account begins more than {self._per_second:g} calls a second: "
                f"repeat in {max(wait, 0.001):.3g} s",
                metadata={"limit": f"{self._per_second:g}"},
                retry_after=max(wait, 0.001),
            )
        return await proceed()

"""When to try again, how long to wait first, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from polybatch.errors import PolybatchError

__all__ = ["Backoff", "RetryPolicy"]

_PASSING = frozenset({"UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED"})
# Every RPC may be repeated safely, but these rarely pass by themselves.
_UNCLEAR = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
_UNCLEAR_LIMIT = 3
# Another stream of the same upload was there, and took back what it had committed.
_CONTESTED = "WRITE_OFFSET_MISMATCH"
# Only what the account itself does ends these, whatever wait the service names.
_OWN_HAND = frozenset({"STORED_BYTES_LIMIT"})
# The replica is being stopped, in order: there is another one, or soon will be.
_AT_ONCE = "SERVER_STOPPING"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Times in seconds. Waits double from `first_wait` to `longest_wait`, with jitter."""

    first_wait: float = 0.2
    longest_wait: float = 5.0
    give_up_after: float | None = 300.0
    """How long nothing may get through before the error is raised; None: never give up."""
    connect_within: float | None = 10.0
    """The same, as long as the service has not been reached even once."""
    call_timeout: float = 60.0
    """For one attempt of one short call; streams have none."""


@dataclass(slots=True)
class Backoff:
    """The waits of one operation. `progress` starts them over."""

    policy: RetryPolicy
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float, float], float] = random.uniform
    _failures: int = 0
    _first_failure: float = 0.0

    def progress(self) -> None:
        """Something got through: the next failure is a first one again."""
        self._failures = 0

    def wait_before_retry(self, error: PolybatchError, *, reached: bool) -> float | None:
        """Returns the seconds to wait before the next attempt, None where none makes sense.

        `reached` says whether the service has ever answered.
        """
        now = self.clock()
        if self._failures == 0:
            self._first_failure = now
        self._failures += 1
        unclear = error.code in _UNCLEAR or error.reason == _CONTESTED
        if unclear and self._failures > _UNCLEAR_LIMIT:
            return None
        if error.code == "RESOURCE_EXHAUSTED" and (
            error.retry_after is None or error.reason in _OWN_HAND
        ):
            return None
        if not unclear and error.code not in _PASSING | {"RESOURCE_EXHAUSTED"}:
            return None
        if error.reason == _AT_ONCE and self._failures == 1:
            return 0.0
        ceiling = min(
            self.policy.longest_wait, self.policy.first_wait * 2 ** min(self._failures - 1, 30)
        )
        wait = max(self.jitter(ceiling / 2, ceiling), error.retry_after or 0.0)
        limit = self.policy.give_up_after if reached else self.policy.connect_within
        if limit is not None and now + wait - self._first_failure > limit:
            return None
        return wait

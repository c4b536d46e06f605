"""When to try again, how long to wait first, and when to give up."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from polybatch.errors import ConfigurationError, PolybatchError

__all__ = ["DEFAULT_WAIT", "Backoff", "RetryPolicy"]

DEFAULT_WAIT = 120.0
"""Seconds that a service may be away: longer than any restart takes."""

_TRANSIENT = frozenset(
    {"UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
)
# Every RPC may be repeated safely, but these rarely pass by themselves.
_UNCLEAR = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
_UNCLEAR_LIMIT = 3
# Another stream of the same upload was there, and took back what it had committed.
_CONTESTED = "WRITE_OFFSET_MISMATCH"
# Of these codes, yet only what somebody does ends them: the account itself, or whoever
# looks after the certificates.
_LASTING = frozenset({"STORED_BYTES_LIMIT", "WEBHOOKS_LIMIT", "TLS_FAILED"})
# The replica is being stopped, in order: there is another one, or soon will be.
_AT_ONCE = "SERVER_STOPPING"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Times in seconds. Waits double from `first_wait` to `longest_wait`, with jitter."""

    first_wait: float = 0.2
    longest_wait: float = 5.0
    give_up_after: float | None = DEFAULT_WAIT
    """How long nothing may get through before the error is raised, counted from the first
    failure; 0: it is raised at once; None: never."""
    call_timeout: float = 60.0
    """For one attempt of one short call; streams have none."""

    @classmethod
    def resolve(
        cls,
        wait: float | None,
        retry: RetryPolicy | None,
        environ: Mapping[str, str] = os.environ,
    ) -> RetryPolicy:
        """Returns the policy of a client: `wait`, if given, goes before `retry.give_up_after`.

        With neither, POLYBATCH_WAIT says how long to wait, else it is DEFAULT_WAIT.
        Raises ConfigurationError for what is no time.
        """
        named = environ.get("POLYBATCH_WAIT", "").strip() if wait is None and retry is None else ""
        try:
            seconds = float(named) if named else wait
        except ValueError:
            seconds = math.nan
        if seconds is None:
            return retry or cls()
        if not 0 <= seconds < math.inf:
            raise ConfigurationError(
                f"{named or seconds} is no time to wait.",
                reason="WAIT_INVALID",
                next_step="give seconds from 0 on (POLYBATCH_WAIT); 0 is not to wait at all.",
            )
        return replace(retry or cls(), give_up_after=seconds)


@dataclass(slots=True)
class Backoff:
    """The waits of one operation. `progress` starts them over."""

    policy: RetryPolicy
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float, float], float] = random.uniform
    waited: float = 0.0
    """Seconds from the first failure to the last one; 0 while there was none before it."""
    timed_out: bool = False
    """Whether the last failure was a transient one that came too late."""
    _failures: int = 0
    _unclear_failures: int = 0
    _first_failure: float = 0.0

    def progress(self) -> None:
        """Something got through: the next failure is a first one again."""
        self._failures = self._unclear_failures = 0

    def wait_before_retry(self, error: PolybatchError) -> float | None:
        """Returns the seconds to wait before the next attempt, None where none makes sense."""
        now = self.clock()
        if self._failures == 0:
            self._first_failure = now
        self._failures += 1
        self.waited = now - self._first_failure
        self.timed_out = False
        if not self._passes(error):
            return None
        limit = self.policy.give_up_after
        left = None if limit is None else limit - self.waited
        if left is not None and (left <= 0 or (error.retry_after or 0.0) > left):
            self.timed_out = True
            return None
        if error.reason == _AT_ONCE and self._failures == 1:
            return 0.0
        ceiling = min(
            self.policy.longest_wait, self.policy.first_wait * 2 ** min(self._failures - 1, 30)
        )
        wait = max(self.jitter(ceiling / 2, ceiling), error.retry_after or 0.0)
        # The last attempt comes when the time is over, not before.
        return wait if left is None else min(wait, left)

    def _passes(self, error: PolybatchError) -> bool:
        if error.reason in _LASTING:
            return False
        if error.code in _UNCLEAR or error.reason == _CONTESTED:
            self._unclear_failures += 1
            return self._unclear_failures <= _UNCLEAR_LIMIT
        if error.code == "RESOURCE_EXHAUSTED" and error.retry_after is None:
            return False
        return error.code in _TRANSIENT

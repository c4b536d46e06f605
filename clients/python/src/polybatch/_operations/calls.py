"""Calls that are tried again."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from polybatch._transport.contract import Transport
from polybatch._transport.methods import Method, Server
from polybatch.errors import PolybatchError, Unavailable
from polybatch.retry import Backoff, RetryPolicy

RetryObserver = Callable[[PolybatchError, float], None]
"""Called before each wait with what went wrong and the seconds to wait."""

BackObserver = Callable[[str], None]
"""Called with "gateway" or "collector" when it answers again after a RetryObserver's call."""

_NOT_AWAY = object()
_logger = logging.getLogger("polybatch")


def log_retry(error: PolybatchError, wait: float) -> None:
    """The observer of a client that was given none: a line in the log "polybatch"."""
    _logger.info("retrying in %.1f s: %s [%s]", wait, error.message, error.reason)


def log_back(server: str) -> None:
    """The same for a server that is back."""
    _logger.info("the %s answers again", server)


class Caller:
    """Transport and retry policy of one client."""

    def __init__(
        self,
        transport: Transport,
        policy: RetryPolicy,
        on_retry: RetryObserver = log_retry,
        on_back: BackObserver = log_back,
    ) -> None:
        self.transport = transport
        self.policy = policy
        self.on_retry = on_retry
        self.on_back = on_back
        self.reached: set[Server] = set()
        self.away: dict[Server, Attempts | None] = {}
        """Whose return is to be told: None once anything answers, else once the operation
        gets on, as the service is there and only what it needs is away."""

    def attempts(self, server: Server, until: float | None = None) -> Attempts:
        """Begins an operation that may need more than one attempt, all of them before
        `until` of the monotonic clock."""
        return Attempts(self, server, until)

    async def unary(
        self,
        method: Method,
        request: Any,
        attempts: Attempts | None = None,
        *,
        at_least: float = 0.0,
    ) -> Any:
        """One request, one reply; again while the failure is a transient one.

        `at_least`: seconds that an attempt may take, where that is more than for a short call.
        """
        attempts = attempts or self.attempts(method.server)
        while True:
            seconds = attempts.within(max(self.policy.call_timeout, at_least))
            try:
                reply = await self.transport.unary(method, request, seconds)
            except PolybatchError as error:
                await attempts.pause(error)
            else:
                attempts.progress()
                return reply


class Attempts:
    """The attempts of one operation at one server."""

    def __init__(self, caller: Caller, server: Server, until: float | None = None) -> None:
        self._caller = caller
        self._server = server
        self._until = until
        self._backoff = Backoff(caller.policy)
        self.repeats: int = 0
        """Attempts after the first."""

    def within(self, seconds: float) -> float:
        """Returns the seconds, or fewer if the operation's own time is over before."""
        if self._until is None:
            return seconds
        return max(0.0, min(seconds, self._until - time.monotonic()))

    def progress(self) -> None:
        """Something got through: waits start over."""
        self._backoff.progress()
        self.arriving()

    def arriving(self) -> None:
        """What is sent arrives, though nothing is known to be kept of it: the service is back."""
        self._caller.reached.add(self._server)
        away = self._caller.away
        if away.get(self._server, _NOT_AWAY) not in (None, self):
            return
        # Threads share a caller: only one of them finds it still there.
        if away.pop(self._server, _NOT_AWAY) is not _NOT_AWAY:
            self._caller.on_back(self._server.value)

    async def pause(
        self, error: PolybatchError, *, got_through: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """Waits before the next attempt; raises the error where none makes sense.

        `got_through` is asked before giving up, where that is not known otherwise.
        """
        own_word = error.reason != error.code
        if isinstance(error, Unavailable):
            if own_word:
                # The service is there, if not well.
                self._caller.reached.add(self._server)
            error.never_reached = self._server not in self._caller.reached
        elif own_word and not error.given_up:
            # Whatever it says, such as that it knows nothing of an upload: it answers.
            self.arriving()
        wait = None if error.given_up else self._backoff.wait_before_retry(error)
        if wait is None and self._backoff.timed_out and got_through and await got_through():
            self.progress()
            wait = self._backoff.wait_before_retry(error)
        if wait is None or (self._until is not None and time.monotonic() >= self._until):
            self._give_up(error)
        self.repeats += 1
        self._caller.away[self._server] = self if own_word else None
        self._caller.on_retry(error, wait)
        await self._caller.transport.sleep(self.within(wait))

    def _give_up(self, error: PolybatchError) -> NoReturn:
        self._caller.away.pop(self._server, None)
        if isinstance(error, Unavailable) and not error.given_up:
            if error.address and error.address not in error.message:
                error.message = f"{error.server} at {error.address}: {error.message}"
            if self._backoff.timed_out and self._backoff.waited:
                error.message = f"{error.message.rstrip('.')}; waited {self._backoff.waited:.3g} s"
            error.next_step = error.next_step or "try again later, or wait longer (--wait)."
        error.given_up = True
        raise error

"""Calls that are tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from polybatch._transport.contract import Transport
from polybatch._transport.methods import Method, Server
from polybatch.errors import PolybatchError
from polybatch.retry import Backoff, RetryPolicy

RetryObserver = Callable[[PolybatchError, float], None]
"""Called before each wait with what went wrong and the seconds to wait."""

_logger = logging.getLogger("polybatch")


def log_retry(error: PolybatchError, wait: float) -> None:
    """The observer of a client that was given none: a line in the log "polybatch"."""
    _logger.info("retrying in %.1f s: %s [%s]", wait, error.message, error.reason)


class Caller:
    """Transport and retry policy of one client."""

    def __init__(
        self, transport: Transport, policy: RetryPolicy, on_retry: RetryObserver = log_retry
    ) -> None:
        self.transport = transport
        self.policy = policy
        self.on_retry = on_retry
        self.reached: set[Server] = set()

    def attempts(self, server: Server) -> Attempts:
        """Begins an operation that may need more than one attempt."""
        return Attempts(self, server)

    async def unary(self, method: Method, request: Any, attempts: Attempts | None = None) -> Any:
        """One request, one reply; again while the failure is a passing one."""
        attempts = attempts or self.attempts(method.server)
        while True:
            try:
                reply = await self.transport.unary(method, request, self.policy.call_timeout)
            except PolybatchError as error:
                await attempts.pause(error)
            else:
                attempts.progress()
                return reply


class Attempts:
    """The attempts of one operation at one server."""

    def __init__(self, caller: Caller, server: Server) -> None:
        self._caller = caller
        self._server = server
        self._backoff = Backoff(caller.policy)
        self.repeats = 0
        """Attempts after the first."""

    def progress(self) -> None:
        """Something got through: waits start over."""
        self._caller.reached.add(self._server)
        self._backoff.progress()

    async def pause(self, error: PolybatchError) -> None:
        """Waits before the next attempt; raises the error where none makes sense."""
        if error.reason != error.code:
            # A reason is polybatch's own word: the service is there, if not well.
            self._caller.reached.add(self._server)
        wait = self._backoff.wait_before_retry(error, reached=self._server in self._caller.reached)
        if wait is None:
            raise error
        self.repeats += 1
        self._caller.on_retry(error, wait)
        await self._caller.transport.sleep(wait)

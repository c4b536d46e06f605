"""An RPC that is running, and how it is ended from here."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from core.serving.api_error import ApiError
from core.serving.interceptor import Context

WRITE_LIMIT = 1.0
"""Seconds that the end of a call waits for a client that does not read."""


@dataclass(slots=True, eq=False)
class RunningCall:
    """One RPC."""

    method: str
    key_id: str | None
    task: asyncio.Task[Any]
    error: ApiError | None = None
    """What it was ended with."""
    cancelled: bool = False
    """Whether its task was cancelled for that."""
    _writing: bool = False

    async def write(self, context: Context, response: Any) -> None:
        """Write a message of a stream. Raises the error that the call was ended with meanwhile."""
        self._writing = True
        try:
            await context.write(response)
        finally:
            self._writing = False
        if self.error is not None:
            raise self.error

    def end(self, error: ApiError) -> bool:
        """End it; False: it is at its end already.

        After the write under way: gRPC takes no status beside it, and the client would be left
        without one.
        """
        # One whose client has left is in its finally blocks: let it be.
        if self.error is not None or self.task.cancelling():
            return False
        self.error = error
        if self._writing:
            asyncio.get_running_loop().call_later(WRITE_LIMIT, self._give_write_up)
        else:
            self._cancel()
        return True

    def _give_write_up(self) -> None:
        if self._writing:
            self._cancel()

    def _cancel(self) -> None:
        self.cancelled = True
        self.task.cancel()


# Set by the in-flight interceptor inside the RPC's own task.
running_call: ContextVar[RunningCall] = ContextVar("running_call")

"""Uploads that may have come about though nobody knows their id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from core.providers.http.call_metrics import NotSent
from core.providers.http.transport import Reply

T = TypeVar("T")

# Whoever answers so may have taken the file all the same.
_DOUBTFUL = frozenset({408, 409, 499})


class UploadTries:
    """The tries of one upload, which is repeated freely: each may leave a copy behind."""

    def __init__(self) -> None:
        self.orphans = False
        """Whether a copy may lie there that no answer has named."""

    async def make(self, send: Callable[[], Awaitable[Reply]]) -> Reply:
        """Make one try. One that is broken off, from either side, leaves it open."""
        before, self.orphans = self.orphans, True
        try:
            reply = await send()
        except NotSent:
            self.orphans = before
            raise
        if reply.status < 500 and reply.status not in _DOUBTFUL:
            self.orphans = before
        return reply

    def reading(self, read: Callable[[bytes], T]) -> Callable[[bytes], T]:
        """A reader of the answer that took the file: unread, it names nothing."""

        def noted(body: bytes) -> T:
            before, self.orphans = self.orphans, True
            answer = read(body)
            self.orphans = before
            return answer

        return noted

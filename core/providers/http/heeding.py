"""What each exchange says of its provider to all who have the same key: how long it wants no
call, that it answers, or that it does not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from core.providers.http.call_metrics import Broken, NotSent
from core.providers.http.holds import CredentialHold
from core.providers.http.transport import Reply, Transport

_MOST_CHARS = 200


class HeedingTransport:
    """A Transport that notes in its key's hold what becomes of each exchange."""

    def __init__(
        self, transport: Transport, hold: CredentialHold, hide: Callable[[str], str]
    ) -> None:
        """`hide`: leaves the key out of a text."""
        self._transport = transport
        self._hold = hold
        self._hide = hide

    @property
    def ahead(self) -> float:
        """As Transport."""
        return self._transport.ahead

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._transport.close()

    async def send(self, *where: str, **parts: Any) -> Reply:
        """As Transport."""
        return await self._heeded(self._transport.send(*where, **parts))

    async def send_file(self, url: str, file: Path, **parts: Any) -> Reply:
        """As Transport."""
        return await self._heeded(self._transport.send_file(url, file, **parts))

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncGenerator[Reply | AsyncIterator[bytes], None]:
        """As Transport. A body that breaks off says nothing: its head was an answer."""
        began, answered = self._hold.moment, False
        try:
            async with self._transport.stream(url) as body:
                answered = True
                if isinstance(body, Reply):
                    self._heed(body, began)
                else:
                    self._hold.answered()
                yield body
        except Broken as error:
            if not answered:
                self._failed(began, error)
            raise

    async def _heeded(self, exchange: Awaitable[Reply]) -> Reply:
        began = self._hold.moment
        try:
            reply = await exchange
        except (NotSent, Broken) as error:
            self._failed(began, error)
            raise
        self._heed(reply, began)
        return reply

    def _failed(self, began: float, error: NotSent | Broken) -> None:
        self._hold.failed(began, self._hide(str(error))[:_MOST_CHARS])

    def _heed(self, reply: Reply, began: float) -> None:
        if reply.status < 500:
            self._hold.answered()
        elif not reply.retry_after:
            self._hold.failed(began, f"status {reply.status}")
        if not reply.ok and reply.retry_after:
            self._hold.note(reply.retry_after)

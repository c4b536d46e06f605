"""Reading the messages of an upload's stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from core.serving import ApiError


class MessageStream:
    """The messages that one client sends, one read ahead of the reader.

    The read-ahead lets gRPC receive a message while the one before is worked on. Use it
    as a context manager: at the end of the block no read is left behind.
    """

    def __init__(self, messages: AsyncIterator[bytes], *, idle_timeout: float) -> None:
        """`idle_timeout`: seconds that the client may be silent."""
        self._messages = messages
        self._idle_timeout = idle_timeout
        self._ahead: asyncio.Task[bytes | None] | None = None

    async def __aenter__(self) -> MessageStream:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)

    async def next(self) -> bytes | None:
        """The next message; None when the client has closed its side.

        Raises UPLOAD_IDLE when it stays silent.
        """
        if self._ahead is None:
            self._ahead = asyncio.create_task(self._read())
        # wait(), not timeout(): a read of grpc.aio that is cancelled and then forgotten
        # would take a message with it.
        if not self._ahead.done():
            await asyncio.wait([self._ahead], timeout=self._idle_timeout)
        if not self._ahead.done():
            raise ApiError.aborted(
                "UPLOAD_IDLE",
                f"nothing came for {self._idle_timeout:g} s: ask GetUploadStatus, then resume",
            )
        message = self._ahead.result()
        self._ahead = None if message is None else asyncio.create_task(self._read())
        return message

    async def _read(self) -> bytes | None:
        return await anext(self._messages, None)

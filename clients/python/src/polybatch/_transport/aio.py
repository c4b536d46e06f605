"""The asyncio transport: grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import grpc
import grpc.aio

from polybatch._transport.contract import ReplyStream, UploadStream
from polybatch._transport.driving import run
from polybatch._transport.methods import Method, Server
from polybatch._transport.translate import translate
from polybatch.connection import CHANNEL_OPTIONS, Connection
from polybatch.errors import PolybatchError

T = TypeVar("T")

_STATUS_WAIT = 1.0
"""Seconds to wait for a status that is on its way."""


class AioTransport:
    """gRPC on the running event loop. Channels are opened at their first use."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._metadata = grpc.aio.Metadata(("authorization", f"Bearer {connection.api_key}"))
        self._channels: dict[Server, grpc.aio.Channel] = {}

    async def unary(self, method: Method, request: Any, seconds: float) -> Any:
        """See Transport."""
        call = self._channel(method.server).unary_unary(method.path, method.serialize, method.parse)
        try:
            return await call(request, timeout=seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._error(error, method) from None

    def upload(self, method: Method) -> UploadStream:
        """See Transport."""
        call: Any = self._channel(method.server).stream_unary(method.path, None, method.parse)
        return _AioUpload(call(metadata=self._metadata), lambda error: self._error(error, method))

    def replies(self, method: Method, request: Any, seconds: float | None = None) -> ReplyStream:
        """See Transport."""
        call: Any = self._channel(method.server).unary_stream(
            method.path, method.serialize, method.parse
        )
        return _AioReplies(
            call(request, timeout=seconds, metadata=self._metadata),
            lambda error: self._error(error, method),
        )

    async def sleep(self, seconds: float) -> None:
        """See Transport."""
        await asyncio.sleep(seconds)

    async def blocking(self, work: Callable[[], T]) -> T:
        """See Transport."""
        return await asyncio.to_thread(work)

    async def close(self) -> None:
        """See Transport."""
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            await channel.close()

    def _channel(self, server: Server) -> grpc.aio.Channel:
        if server not in self._channels:
            target = getattr(self._connection, server.value)
            credentials = self._connection.channel_credentials()
            self._channels[server] = (
                grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
                if credentials is None
                else grpc.aio.secure_channel(target, credentials, CHANNEL_OPTIONS)
            )
        return self._channels[server]

    def _error(self, error: grpc.aio.AioRpcError, method: Method) -> PolybatchError:
        server = method.server.value
        return translate(error, server, getattr(self._connection, server))


class _AioUpload:
    """A call of many requests that tells the status which the server gave.

    Where a server ends the call while a message is being written, grpc.aio sets a status
    of its own, "Internal error from Core", before or after the server's, which is lost:
    https://github.com/grpc/grpc/issues/36066. Callbacks run for each of the two.
    """

    def __init__(self, call: Any, translated: Callable[[Any], PolybatchError]) -> None:
        self._call = call
        self._translated = translated
        self._status: grpc.aio.AioRpcError | None = None
        self._status_known = asyncio.Event()
        call.add_done_callback(self._note_status)

    async def write(self, message: bytes) -> bool:
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call has ended, well or not: `finish` tells which.
            return False
        return True

    async def finish(self) -> Any:
        try:
            await self._call.done_writing()
            return await self._call
        except grpc.aio.AioRpcError as error:
            raise self._translated(await self._servers_own(error)) from None

    def cancel(self) -> None:
        self._call.cancel()

    def _note_status(self, call: Any) -> None:
        status = grpc.aio.AioRpcError(
            run(call.code()),
            trailing_metadata=run(call.trailing_metadata()),
            details=run(call.details()),
        )
        if not _is_stand_in(status):
            self._status = status
            self._status_known.set()

    async def _servers_own(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        if not _is_stand_in(error):
            return error
        # Where the connection itself is gone no other status comes.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._status_known.wait(), _STATUS_WAIT)
        if self._status is None or self._status.code() is grpc.StatusCode.OK:
            return error
        return self._status


def _is_stand_in(status: grpc.aio.AioRpcError) -> bool:
    return (
        status.code() is grpc.StatusCode.INTERNAL and status.details() == "Internal error from Core"
    )


class _AioReplies:
    def __init__(self, call: Any, translated: Callable[[Any], PolybatchError]) -> None:
        self._call = call
        self._translated = translated

    async def read(self) -> Any | None:
        try:
            reply = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from None
        return None if reply is grpc.aio.EOF else reply

    def cancel(self) -> None:
        self._call.cancel()

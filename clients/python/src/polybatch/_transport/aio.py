"""The asyncio transport: grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from polybatch._transport.contract import ReplyStream, UploadStream
from polybatch._transport.methods import Method, Server
from polybatch._transport.translate import translate
from polybatch.connection import CHANNEL_OPTIONS, Connection
from polybatch.errors import PolybatchError

T = TypeVar("T")


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
    def __init__(self, call: Any, translated: Callable[[Any], PolybatchError]) -> None:
        self._call = call
        self._translated = translated

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
            raise self._translated(error) from None

    def cancel(self) -> None:
        self._call.cancel()


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

"""The asyncio transport: grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import grpc
import grpc.aio

from polybatch._transport.contract import ReplyStream, UploadStream
from polybatch._transport.driving import run
from polybatch._transport.metadata import call_metadata
from polybatch._transport.methods import Method, Server
from polybatch._transport.replicas import Replicas, Turn, client_closed
from polybatch.connection import Connection
from polybatch.errors import PolybatchError

T = TypeVar("T")

_STATUS_WAIT = 1.0
"""Seconds to wait for a status that is on its way."""


class AioTransport:
    """gRPC on the running event loop. Channels are opened at their first use."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._servers: dict[Server, Replicas[grpc.aio.Channel]] = {}
        self._closed = False

    def with_key(self, api_key: str) -> AioTransport:
        """The same channels for calls with another key: only one of the two is to be closed."""
        other = AioTransport(replace(self._connection, api_key=api_key))
        other._servers = self._servers
        return other

    async def unary(self, method: Method, request: Any, seconds: float) -> Any:
        """See Transport."""
        turn = self._turn(method)
        call = turn.channel.unary_unary(method.path, method.serialize, method.parse)
        try:
            with _noticing_close(turn):
                reply = await call(request, timeout=seconds, metadata=self._metadata())
        except grpc.aio.AioRpcError as error:
            raise turn.failed(error) from None
        turn.answered()
        return reply

    def upload(self, method: Method) -> UploadStream:
        """See Transport."""
        turn = self._turn(method)
        call: Any = turn.channel.stream_unary(method.path, None, method.parse)
        return _AioUpload(call(metadata=self._metadata()), turn)

    def replies(self, method: Method, request: Any, seconds: float | None = None) -> ReplyStream:
        """See Transport."""
        turn = self._turn(method)
        call: Any = turn.channel.unary_stream(method.path, method.serialize, method.parse)
        return _AioReplies(call(request, timeout=seconds, metadata=self._metadata()), turn)

    def exchange(self, method: Method, requests: Sequence[bytes], seconds: float) -> ReplyStream:
        """See Transport."""
        turn = self._turn(method)
        call: Any = turn.channel.stream_stream(method.path, None, method.parse)
        return _AioReplies(call(iter(requests), timeout=seconds, metadata=self._metadata()), turn)

    def _metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(*call_metadata(self._connection.api_key))

    async def sleep(self, seconds: float) -> None:
        """See Transport."""
        await asyncio.sleep(seconds)

    async def blocking(self, work: Callable[[], T]) -> T:
        """See Transport."""
        return await asyncio.to_thread(work)

    async def close(self) -> None:
        """See Transport."""
        self._closed = True
        for replicas in self._servers.values():
            replicas.closed = True
        for replicas in self._servers.values():
            for channel in replicas.channels():
                await channel.close()

    def _turn(self, method: Method) -> Turn[grpc.aio.Channel]:
        server = method.server
        if self._closed:
            raise client_closed()
        if server not in self._servers:
            addresses = self._connection.addresses(server.value)
            self._servers[server] = Replicas(server.value, addresses, self._connect)
        return self._servers[server].turn()

    def _connect(self, address: str) -> grpc.aio.Channel:
        credentials = self._connection.channel_credentials()
        options = self._connection.channel_options(address)
        if credentials is None:
            return grpc.aio.insecure_channel(address, options)
        return grpc.aio.secure_channel(address, credentials, options)


@contextmanager
def _noticing_close(turn: Turn[grpc.aio.Channel]) -> Iterator[None]:
    """gRPC cancels what is open on a channel that is closed; the task that waits for it is not."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if turn.closed and not (task is not None and task.cancelling()):
            raise client_closed() from None
        raise


class _AioUpload:
    """A call of many requests that tells the status which the server gave.

    Where a server ends the call while a message is being written, grpc.aio sets a status
    of its own, "Internal error from Core", before or after the server's, which is lost:
    https://github.com/grpc/grpc/issues/36066. Callbacks run for each of the two.
    """

    def __init__(self, call: Any, turn: Turn[grpc.aio.Channel]) -> None:
        self._call = call
        self._turn = turn
        self._status: grpc.aio.AioRpcError | None = None
        self._status_known = asyncio.Event()
        call.add_done_callback(self._note_status)

    async def write(self, message: bytes) -> bool:
        try:
            with _noticing_close(self._turn):
                await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call has ended, well or not: `finish` tells which.
            return False
        return True

    async def finish(self) -> Any:
        try:
            with _noticing_close(self._turn):
                await self._call.done_writing()
                reply = await self._call
        except grpc.aio.AioRpcError as error:
            raise self._turn.failed(await self._servers_own(error)) from None
        self._turn.answered()
        return reply

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
        with suppress(TimeoutError):
            await asyncio.wait_for(self._status_known.wait(), _STATUS_WAIT)
        if self._status is None or self._status.code() is grpc.StatusCode.OK:
            # No other status comes where the connection itself is gone: that passes.
            return grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE,
                error.initial_metadata(),
                error.trailing_metadata(),
                "the connection broke",
            )
        return self._status


def _is_stand_in(status: grpc.aio.AioRpcError) -> bool:
    return (
        status.code() is grpc.StatusCode.INTERNAL and status.details() == "Internal error from Core"
    )


class _AioReplies:
    def __init__(self, call: Any, turn: Turn[grpc.aio.Channel]) -> None:
        self._call = call
        self._turn = turn

    async def read(self) -> Any | None:
        try:
            with _noticing_close(self._turn):
                reply = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._turn.failed(error) from None
        self._turn.answered()
        return None if reply is grpc.aio.EOF else reply

    def ended_early(self, what: str) -> PolybatchError:
        return self._turn.ended_early(what)

    def cancel(self) -> None:
        self._call.cancel()

"""The blocking transport: plain grpc."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from polybatch._transport.contract import ReplyStream, UploadStream
from polybatch._transport.methods import Method, Server
from polybatch._transport.translate import FailedCall, translate
from polybatch.connection import CHANNEL_OPTIONS, Connection
from polybatch.errors import PolybatchError

T = TypeVar("T")

# One message is on its way while the next is being read; more would only cost memory.
_QUEUED_MESSAGES = 2


class BlockingTransport:
    """gRPC in the calling thread; may be shared by threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._metadata = (("authorization", f"Bearer {connection.api_key}"),)
        credentials = connection.channel_credentials()
        self._channels: dict[Server, grpc.Channel] = {}
        for server in Server:
            target = getattr(connection, server.value)
            self._channels[server] = (
                grpc.insecure_channel(target, CHANNEL_OPTIONS)
                if credentials is None
                else grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)
            )

    async def unary(self, method: Method, request: Any, seconds: float) -> Any:
        """See Transport."""
        call = self._channels[method.server].unary_unary(
            method.path, method.serialize, method.parse
        )
        try:
            return call(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error, method) from None

    def upload(self, method: Method) -> UploadStream:
        """See Transport."""
        call: Any = self._channels[method.server].stream_unary(method.path, None, method.parse)
        return _BlockingUpload(
            lambda messages: call.future(messages, metadata=self._metadata),
            lambda error: self._error(error, method),
        )

    def replies(self, method: Method, request: Any, seconds: float | None = None) -> ReplyStream:
        """See Transport."""
        call = self._channels[method.server].unary_stream(
            method.path, method.serialize, method.parse
        )
        return _BlockingReplies(
            call(request, timeout=seconds, metadata=self._metadata),
            lambda error: self._error(error, method),
        )

    async def sleep(self, seconds: float) -> None:
        """See Transport."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this transport is for

    async def blocking(self, work: Callable[[], T]) -> T:
        """See Transport."""
        return work()

    async def close(self) -> None:
        """See Transport."""
        for channel in self._channels.values():
            channel.close()

    def _error(self, error: Any, method: Method) -> PolybatchError:
        server = method.server.value
        call: FailedCall = error
        return translate(call, server, getattr(self._connection, server))


class _BlockingUpload:
    """gRPC takes messages from an iterator in a thread of its own; this hands them over.

    So the source is read in the caller's thread only, and is free to be read again as
    soon as `write` has returned False.
    """

    def __init__(
        self,
        start: Callable[[Iterator[bytes]], Any],
        translated: Callable[[Any], PolybatchError],
    ) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._closed = False
        self._ended = False
        self._translated = translated
        self._call = start(self._messages())
        self._call.add_done_callback(self._on_done)

    async def write(self, message: bytes) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._waiting) < _QUEUED_MESSAGES)
            if self._ended:
                return False
            self._waiting.append(message)
            self._changed.notify_all()
            return True

    async def finish(self) -> Any:
        self._close()
        try:
            return self._call.result()
        except grpc.RpcError as error:
            raise self._translated(error) from None

    def cancel(self) -> None:
        self._call.cancel()
        self._close()

    def _close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _on_done(self, _: Any) -> None:
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()

    def _messages(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed or self._ended)
                if not self._waiting:
                    return
                message = self._waiting.popleft()
                self._changed.notify_all()
            yield message


class _BlockingReplies:
    def __init__(self, call: Any, translated: Callable[[Any], PolybatchError]) -> None:
        self._call = call
        self._translated = translated

    async def read(self) -> Any | None:
        try:
            return next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise self._translated(error) from None

    def cancel(self) -> None:
        self._call.cancel()

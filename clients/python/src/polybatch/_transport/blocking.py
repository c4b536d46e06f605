"""The blocking transport: plain grpc."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from polybatch._transport.contract import ReplyStream, UploadStream
from polybatch._transport.metadata import call_metadata
from polybatch._transport.methods import Method, Server
from polybatch._transport.replicas import Replicas, Turn, client_closed
from polybatch.connection import Connection
from polybatch.errors import PolybatchError

if TYPE_CHECKING:
    from polybatch._transport.translate import FailedCall

T = TypeVar("T")

# One message is on its way while the next is being read; more would only cost memory.
_QUEUED_MESSAGES = 2


class BlockingTransport:
    """gRPC in the calling thread; may be shared by threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._credentials = connection.channel_credentials()
        self._servers = {
            server: Replicas(server.value, connection.addresses(server.value), self._connect)
            for server in Server
        }

    async def unary(self, method: Method, request: Any, seconds: float) -> Any:
        """See Transport."""
        turn = self._servers[method.server].turn()
        call = turn.channel.unary_unary(method.path, method.serialize, method.parse)
        try:
            with _noticing_close(turn):
                reply = call(request, timeout=seconds, metadata=self._metadata())
        except grpc.RpcError as error:
            raise turn.failed(_status(error)) from None
        turn.answered()
        return reply

    def upload(self, method: Method) -> UploadStream:
        """See Transport."""
        turn = self._servers[method.server].turn()
        call: Any = turn.channel.stream_unary(method.path, None, method.parse)
        metadata = self._metadata()
        with _noticing_close(turn):
            return _BlockingUpload(lambda messages: call.future(messages, metadata=metadata), turn)

    def replies(self, method: Method, request: Any, seconds: float | None = None) -> ReplyStream:
        """See Transport."""
        turn = self._servers[method.server].turn()
        call = turn.channel.unary_stream(method.path, method.serialize, method.parse)
        with _noticing_close(turn):
            replies = call(request, timeout=seconds, metadata=self._metadata())
        return _BlockingReplies(replies, turn)

    def exchange(self, method: Method, requests: Sequence[bytes], seconds: float) -> ReplyStream:
        """See Transport."""
        turn = self._servers[method.server].turn()
        call: Any = turn.channel.stream_stream(method.path, None, method.parse)
        with _noticing_close(turn):
            replies = call(iter(requests), timeout=seconds, metadata=self._metadata())
        return _BlockingReplies(replies, turn)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return call_metadata(self._connection.api_key)

    async def sleep(self, seconds: float) -> None:
        """See Transport."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this transport is for

    async def blocking(self, work: Callable[[], T]) -> T:
        """See Transport."""
        return work()

    async def close(self) -> None:
        """See Transport."""
        for replicas in self._servers.values():
            replicas.closed = True
            for channel in replicas.channels():
                channel.close()

    def _connect(self, address: str) -> grpc.Channel:
        options = self._connection.channel_options(address)
        if self._credentials is None:
            return grpc.insecure_channel(address, options)
        return grpc.secure_channel(address, self._credentials, options)


@contextmanager
def _noticing_close(turn: Turn[grpc.Channel]) -> Iterator[None]:
    """A channel that another thread closes just before a call has only a ValueError for it."""
    try:
        yield
    except ValueError:
        if turn.closed:
            raise client_closed() from None
        raise


def _status(error: Any) -> FailedCall:
    # What grpc raises is the call itself.
    call: FailedCall = error
    return call


class _BlockingUpload:
    """gRPC takes messages from an iterator in a thread of its own; this hands them over.

    So the source is read in the caller's thread only, and is free to be read again as
    soon as `write` has returned False.
    """

    def __init__(
        self,
        start: Callable[[Iterator[bytes]], Any],
        turn: Turn[grpc.Channel],
    ) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._closed = False
        self._ended = False
        self._turn = turn
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
            reply = self._call.result()
        except grpc.RpcError as error:
            raise self._turn.failed(_status(error)) from None
        self._turn.answered()
        return reply

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
    def __init__(self, call: Any, turn: Turn[grpc.Channel]) -> None:
        self._call = call
        self._turn = turn

    async def read(self) -> Any | None:
        try:
            reply = next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise self._turn.failed(_status(error)) from None
        self._turn.answered()
        return reply

    def ended_early(self, what: str) -> PolybatchError:
        return self._turn.ended_early(what)

    def cancel(self) -> None:
        self._call.cancel()

"""What the operations need of gRPC, in one shape for both transports.

The operations are written once, as coroutines. Under asyncio they run as such; the
blocking transport's methods never suspend, so `run` can drive the same coroutines to
their end without any event loop.

Every method raises PolybatchError, never a bare grpc.RpcError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from polybatch._transport.methods import Method
from polybatch.errors import PolybatchError

T = TypeVar("T")


class UploadStream(Protocol):
    """An open call of many requests and one reply."""

    async def write(self, message: bytes) -> bool:
        """Sends one serialized request. False when the server has already replied."""
        ...

    async def finish(self) -> Any:
        """Says that no more will come, and returns the reply."""
        ...

    def cancel(self) -> None:
        """Ends the call; does nothing when it has ended."""
        ...


class ReplyStream(Protocol):
    """An open call of many replies."""

    async def read(self) -> Any | None:
        """Returns the next reply, None after the last."""
        ...

    def ended_early(self, what: str) -> PolybatchError:
        """Returns the exception for a stream that ended well, but before `what` was done."""
        ...

    def cancel(self) -> None:
        """Ends the call; does nothing when it has ended."""
        ...


class Transport(Protocol):
    """gRPC to both servers."""

    async def unary(self, method: Method, request: Any, seconds: float) -> Any:
        """One request, one reply, within so many seconds."""
        ...

    def upload(self, method: Method) -> UploadStream:
        """Opens a call of many requests."""
        ...

    def replies(self, method: Method, request: Any, seconds: float | None = None) -> ReplyStream:
        """Opens a call of many replies, all of them within so many seconds."""
        ...

    def exchange(self, method: Method, requests: Sequence[bytes], seconds: float) -> ReplyStream:
        """Opens a call of many serialized requests, all at hand, and many replies."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...

    async def blocking(self, work: Callable[[], T]) -> T:
        """Does file work where it holds up nobody else."""
        ...

    async def close(self) -> None:
        """Closes the channels; calls still open end."""
        ...

"""What several tests of the client's calls need."""

from __future__ import annotations

import grpc
import grpc.aio
from polybatch import PolybatchError

KEY = {"POLYBATCH_API_KEY": "pb-key"}


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failure(code: str = "UNAVAILABLE", retry_after: float | None = None) -> PolybatchError:
    return PolybatchError("x", code=code, retry_after=retry_after)


def call(
    code: grpc.StatusCode, details: str, trailers: tuple[tuple[str, bytes], ...] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code, trailing_metadata=grpc.aio.Metadata(*trailers), details=details
    )

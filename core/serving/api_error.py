"""The one error that a handler raises to answer an RPC with a status of its choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import grpc


class Details(TypedDict, total=False):
    """What an error may say besides; see ApiError."""

    metadata: Mapping[str, str] | None
    violations: Sequence[tuple[str, str]]
    retry_after: float | None


class ApiError(Exception):
    """An RPC's error, as the client is to see it. The errors interceptor translates it.

    code: never INTERNAL; that is for what nobody foresaw. reason: machine code in
    UPPER_SNAKE_CASE, one of those in the proto comments. message: human-readable, up to 768
    bytes are sent. metadata: ErrorInfo's, such as {"committed_size": "42"}. violations:
    (path of the field, description); the first 20 are sent. retry_after: seconds after
    which a repetition may help.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = list(violations)
        self.retry_after = retry_after

    @classmethod
    def invalid_argument(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """INVALID_ARGUMENT: wrong whatever the state of the system; fix the request."""
        return cls(grpc.StatusCode.INVALID_ARGUMENT, reason, message, **details)

    @classmethod
    def unauthenticated(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """UNAUTHENTICATED: no valid key came with the call."""
        return cls(grpc.StatusCode.UNAUTHENTICATED, reason, message, **details)

    @classmethod
    def permission_denied(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """PERMISSION_DENIED: the key is valid, and may not do it."""
        return cls(grpc.StatusCode.PERMISSION_DENIED, reason, message, **details)

    @classmethod
    def not_found(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """NOT_FOUND: not there, or another account's."""
        return cls(grpc.StatusCode.NOT_FOUND, reason, message, **details)

    @classmethod
    def already_exists(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """ALREADY_EXISTS: the name that the client chose is taken."""
        return cls(grpc.StatusCode.ALREADY_EXISTS, reason, message, **details)

    @classmethod
    def failed_precondition(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """FAILED_PRECONDITION: not in this state; repeating does not help by itself."""
        return cls(grpc.StatusCode.FAILED_PRECONDITION, reason, message, **details)

    @classmethod
    def out_of_range(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """OUT_OF_RANGE: past the end."""
        return cls(grpc.StatusCode.OUT_OF_RANGE, reason, message, **details)

    @classmethod
    def aborted(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """ABORTED: somebody else was faster; look again, then repeat."""
        return cls(grpc.StatusCode.ABORTED, reason, message, **details)

    @classmethod
    def resource_exhausted(cls, reason: str, message: str, **details: Unpack[Details]) -> ApiError:
        """RESOURCE_EXHAUSTED: over a limit, which the message names."""
        return cls(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, **details)

    @classmethod
    def unavailable(cls, reason: str, message: str, *, retry_after: float | None = 1.0) -> ApiError:
        """UNAVAILABLE: away for now; the same call may succeed in a moment."""
        return cls(grpc.StatusCode.UNAVAILABLE, reason, message, retry_after=retry_after)

    @classmethod
    def stopping(cls) -> ApiError:
        """UNAVAILABLE: this server is being stopped; another one, or its next, will do it."""
        return cls.unavailable(
            "SERVER_STOPPING",
            "the server is stopping; repeat the call on another connection",
            retry_after=None,
        )

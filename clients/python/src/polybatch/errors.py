"""What can go wrong, as exceptions.

    PolybatchError
    ├── ConfigurationError      no key, or an address that cannot be used
    ├── Unauthenticated         the key is missing or not accepted
    ├── PermissionDenied        the key is valid, and may not do this
    ├── NotFound                no such batch, file or upload in this account
    ├── InvalidRequest          a request that can never succeed as it stands
    │   └── InvalidLines        bad lines in the input file; `problems`, `file_id`
    ├── Conflict                the state of things forbids it now
    ├── LimitExceeded           a limit of the account or the service; `retry_after`
    ├── Unavailable             not reached, or broken off, and given up
    ├── InternalError           the service's fault; the message holds a reference
    ├── WaitTimeout             the caller's own time limit passed (also a TimeoutError)
    ├── UploadInterrupted       a broken upload whose source cannot be read again
    ├── LineFailed              a line of the results failed (`ResultLine.raise_for_status`)
    └── DataError               what arrived is not what was sent, or cannot be read

Every one holds a `reason` (machine code, upper case), a `message` (what happened)
and a `next_step` (what to do about it, may be empty).
"""

from __future__ import annotations

from collections.abc import Mapping

from polybatch.problems import LineProblem

__all__ = [
    "ConfigurationError",
    "Conflict",
    "DataError",
    "InternalError",
    "InvalidLines",
    "InvalidRequest",
    "LimitExceeded",
    "LineFailed",
    "NotFound",
    "PermissionDenied",
    "PolybatchError",
    "Unauthenticated",
    "Unavailable",
    "UploadInterrupted",
    "WaitTimeout",
]


class PolybatchError(Exception):
    """Base of all errors of this package.

    `code` is the name of the gRPC status ("NOT_FOUND"), empty where no call was
    involved. `retry_after` is in seconds, None where the service named no wait.
    `metadata` is what the service said beside the reason (ids, sizes). `server` is
    "gateway" or "collector" and `address` where it was called, both empty where no call
    was involved; `cause` is what happened, without them. `given_up` says that no attempt
    follows.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        next_step: str = "",
        code: str = "",
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
        server: str = "",
        address: str = "",
        cause: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason: str = reason or code
        self.next_step = next_step
        self.code = code
        self.retry_after = retry_after
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.server = server
        self.address = address
        self.cause: str = cause or message
        self.given_up = False

    def __str__(self) -> str:
        text = self.message.rstrip(".")
        if self.reason:
            text = f"{text} ({self.reason})"
        return f"{text}; {self.next_step}" if self.next_step else f"{text}."


class ConfigurationError(PolybatchError):
    """No key, or an address that cannot be used."""


class Unauthenticated(PolybatchError):
    """The key is missing or not accepted."""


class PermissionDenied(PolybatchError):
    """The key is valid, and may not do this: its scope, or a provider or model."""


class NotFound(PolybatchError):
    """No such batch, file or upload in this account."""


class InvalidRequest(PolybatchError):
    """A request that can never succeed as it stands."""


class InvalidLines(InvalidRequest):
    """The input file has lines that cannot be sent.

    `problems` holds the first 20 at most; `file_id` names the stored file, whose
    validation report (`client.files.validation_report(file_id)`) has all.
    """

    def __init__(
        self,
        message: str,
        *,
        problems: tuple[LineProblem, ...],
        file_id: str,
        next_step: str = "",
        code: str = "INVALID_ARGUMENT",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            message, reason="INVALID_LINES", next_step=next_step, code=code, metadata=metadata
        )
        self.problems = problems
        self.file_id = file_id


class Conflict(PolybatchError):
    """The state of things forbids it now: not ended yet, ended already, in use."""


class LimitExceeded(PolybatchError):
    """A limit of the account or of the service; waiting helps if `retry_after` is set."""


class Unavailable(PolybatchError):
    """The service was not reached, or broke off, for longer than the client was to wait."""

    never_reached: bool = False
    """Whether the service has not answered this client even once."""


class InternalError(PolybatchError):
    """The service's fault; the message holds a reference id that stands in its log."""


class WaitTimeout(PolybatchError, TimeoutError):
    """The caller's own time limit passed; nothing was changed by that."""


class UploadInterrupted(PolybatchError):
    """The upload broke and its source cannot be read again from where it broke."""


class LineFailed(PolybatchError):
    """A line failed that was asked to have succeeded.

    `reason` is the line's error code; `status_code` the HTTP status of the provider's answer,
    0 where there was none.
    """

    def __init__(self, message: str, *, reason: str, custom_id: str, status_code: int) -> None:
        super().__init__(message, reason=reason)
        self.custom_id = custom_id
        self.status_code = status_code


class DataError(PolybatchError):
    """What arrived is not what was sent (size, digest), or cannot be read."""

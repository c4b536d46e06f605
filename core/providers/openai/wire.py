"""What OpenAI, and servers in its form, answer about files and batches.

Only `id` and `status` are needed; all else may be missing, null, or in one of the forms
that the look-alikes have been seen to use:

- Azure: "Validating" with a capital, times as text, counts null;
- Groq: `errors` as a bare list, pages with `paging.next_cursor`;
- Together: `error` as a text, the created batch under "job", lists without an envelope,
  "CANCELING".

Sources: the fact sheets; azure-ai-docs batch-rest.md (2026-08); together-python
types/batch.py (2025-12); groq-typescript resources/batches.ts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from core.providers.contract import RemoteState
from core.providers.parsing import moment_of
from core.struct_types import prepared

T = TypeVar("T")

RUNNING, STOPPING = RemoteState.RUNNING, RemoteState.STOPPING
ENDED, FAILED = RemoteState.ENDED, RemoteState.FAILED

STATES = {
    "validating": (RUNNING, ""),
    "in_progress": (RUNNING, ""),
    "finalizing": (RUNNING, ""),
    "cancelling": (STOPPING, ""),
    "canceling": (STOPPING, ""),
    "completed": (ENDED, "completed"),
    "expired": (ENDED, "expired"),
    "cancelled": (ENDED, "cancelled"),
    "canceled": (ENDED, "cancelled"),
    "failed": (FAILED, ""),
    # Mistral's
    "queued": (RUNNING, ""),
    "running": (RUNNING, ""),
    "cancellation_requested": (STOPPING, ""),
    "success": (ENDED, "completed"),
    "timeout_exceeded": (ENDED, "expired"),
}
"""Status in lower case to our state and, of an end, its kind."""


class RemoteFile(msgspec.Struct):
    """A file object."""

    id: str
    filename: str | None = None
    created_at: Any = None
    status: str | None = None


_MOST_DIGITS = 10
"""Of a number that is given as a text."""


class Counts(msgspec.Struct):
    """Of a batch's requests; one in an odd form must not keep the batch from being read.

    64-bit numbers are texts in some servers' JSON; of a failed batch they say what is paid for.
    """

    total: Any = 0
    completed: Any = 0
    failed: Any = 0

    def __post_init__(self) -> None:
        self.total = _number(self.total)
        self.completed = _number(self.completed)
        self.failed = _number(self.failed)


@prepared
class BatchError(msgspec.Struct):
    """One entry of a failed batch's errors."""

    code: str | None = None
    message: str | None = None
    param: str | None = None
    line: int | None = None


class RemoteJob(msgspec.Struct):
    """A batch object."""

    id: str
    status: str
    created_at: Any = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    completed_at: Any = None
    expired_at: Any = None
    cancelled_at: Any = None
    failed_at: Any = None
    request_counts: Counts | None = None
    errors: Any = None
    error: Any = None
    metadata: Any = None

    @property
    def counts(self) -> Counts:
        """Zeros where it says nothing."""
        return self.request_counts or Counts()

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, in whatever way."""
        for at in (self.completed_at, self.expired_at, self.cancelled_at, self.failed_at):
            moment = moment_of(at)
            if moment is not None:
                return moment
        return None

    @property
    def error_list(self) -> list[BatchError]:
        """Why it failed; empty if it does not say."""
        found = self.errors
        if isinstance(found, dict):
            found = found.get("data")
        if not isinstance(found, list):
            found = [self.error] if self.error else []
        return [_batch_error(each) for each in found]


class _Created(msgspec.Struct):
    job: RemoteJob


class _Paging(msgspec.Struct):
    next_cursor: str | None = None


class _FilePage(msgspec.Struct):
    data: list[RemoteFile] | None = None
    has_more: bool | None = False
    paging: _Paging | None = None


class _JobPage(msgspec.Struct):
    data: list[RemoteJob] | None = None
    has_more: bool | None = False
    paging: _Paging | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list."""

    items: list[T]
    next: dict[str, str] | None
    """Query parameters of the next page; None if there is none."""


read_file: Callable[[bytes], RemoteFile] = msgspec.json.Decoder(RemoteFile).decode
read_job: Callable[[bytes], RemoteJob] = msgspec.json.Decoder(RemoteJob).decode
_read_created = msgspec.json.Decoder(_Created).decode
_file_page = msgspec.json.Decoder(_FilePage | list[RemoteFile])
_job_page = msgspec.json.Decoder(_JobPage | list[RemoteJob])


def read_created(body: bytes) -> RemoteJob:
    """The batch in the answer to a create. Raises msgspec.DecodeError."""
    try:
        return read_job(body)
    except msgspec.ValidationError:
        return _read_created(body).job


def read_files(body: bytes) -> Page[RemoteFile]:
    """A page of files. Raises msgspec.DecodeError."""
    found = _file_page.decode(body)
    if isinstance(found, list):
        return Page(found, None)
    return Page(found.data or [], _next(found))


def read_jobs(body: bytes) -> Page[RemoteJob]:
    """A page of batches. Raises msgspec.DecodeError."""
    found = _job_page.decode(body)
    if isinstance(found, list):
        return Page(found, None)
    return Page(found.data or [], _next(found))


def _next(page: _FilePage | _JobPage) -> dict[str, str] | None:
    if page.paging is not None and page.paging.next_cursor:
        return {"cursor": page.paging.next_cursor}
    return {"after": page.data[-1].id} if page.has_more and page.data else None


def _number(given: Any) -> Any:
    if isinstance(given, str) and given.isdecimal() and len(given) <= _MOST_DIGITS:
        return int(given)
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _batch_error(found: Any) -> BatchError:
    if not isinstance(found, dict):
        return BatchError(message=found if isinstance(found, str) else None)
    texts = {name: found.get(name) for name in ("code", "message", "param")}
    line = _number(found.get("line"))
    # One member in an odd form must not cost the code, which decides whether all is sent again.
    return BatchError(
        **{name: text for name, text in texts.items() if isinstance(text, str)},
        line=line if type(line) is int else None,
    )

"""What every provider adapter offers, and the values that pass through it.

An adapter turns one shard (lines for one provider, and for one model where the
provider wants that) into one batch at that provider, and the provider's answers
into result lines of one form. It knows nothing of the ledger, the bus or blobs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeAlias

from core.prices.usage import NO_USAGE, Usage
from core.providers.attempts import NO_UPLOAD as NO_UPLOAD
from core.providers.attempts import Intent as Intent
from core.providers.attempts import Upload as Upload
from core.providers.attempts import parse_custom_id as parse_custom_id
from core.providers.attempts import upload_prefix as upload_prefix
from core.providers.outcomes import Absent as Absent
from core.providers.outcomes import Accepted as Accepted
from core.providers.outcomes import BadLine as BadLine
from core.providers.outcomes import FindOutcome as FindOutcome
from core.providers.outcomes import Found as Found
from core.providers.outcomes import Gate as Gate
from core.providers.outcomes import NotOurs as NotOurs
from core.providers.outcomes import OutcomeUnknown as OutcomeUnknown
from core.providers.outcomes import Refused as Refused
from core.providers.outcomes import SubmitOutcome as SubmitOutcome
from core.providers.outcomes import Unsure as Unsure
from core.providers.outcomes import accepted as accepted
from core.providers.outcomes import always_open as always_open
from core.providers.provider_errors import is_access


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """How much one batch of a provider may hold. Sizes in bytes."""

    max_lines: int
    max_bytes: int
    one_model_per_batch: bool
    endpoints: frozenset[str]
    max_embedding_inputs: int | None = None
    """Sum over all lines of the inputs of an embeddings batch."""


class LineRejected(Exception):
    """A request cannot be put into the provider's form. Costs only this line."""

    def __init__(self, field: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        """Path of the field, such as "body.messages[2].role"."""
        self.reason = reason
        """Machine code, such as "unsupported_parameter"."""
        self.message = message


@dataclass(frozen=True, slots=True)
class Framing:
    """How encoded lines are joined into the body that is sent."""

    prefix: bytes
    separator: bytes
    suffix: bytes


class RemoteState(StrEnum):
    """Where a batch stands at its provider."""

    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"
    """Results, whole or partial, can be fetched."""
    FAILED = "failed"
    """The batch as such was refused after creation: nothing ran, nothing is paid."""


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A provider's batch as it is now."""

    remote_id: str
    state: RemoteState
    native_status: str
    """The provider's own word, for messages and logs."""
    total: int = 0
    finished: int = 0
    """Lines that the provider calls finished, well or ill. 0 where it does not say."""
    result_sources: tuple[str, ...] = ()
    """What to fetch: file ids or urls; opaque to all but the adapter."""
    refusal: Refused | None = None
    """Set when FAILED."""
    ended_as: str = ""
    """"completed", "expired" or "cancelled" when ENDED; "failed": it broke off, and what
    had been run by then is kept."""
    ended_at: datetime | None = None
    """When the provider ended it; dates the translated responses."""
    unanswered: Outcome | None = None
    """What became of lines that no result names, where the provider says so: EXPIRED or
    CANCELLED, they never ran. None: it does not say, they may have been run and paid."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a provider's list shows of the batches that it was read for."""

    batches: Mapping[str, RemoteBatch]
    """By remote id; those that it does not show are missing."""
    pages: int
    """That were read: one call each."""


class Outcome(StrEnum):
    """What became of one line."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Answered with an error for good."""
    RETRYABLE = "retryable"
    """Failed for a transient reason: overload, rate, server error."""
    EXPIRED = "expired"
    """Never ran: the provider's window closed."""
    CANCELLED = "cancelled"
    """Never ran: the batch was cancelled."""


@dataclass(slots=True)
class ResultLine:
    """One line's result in OpenAI's form, the bytes ready to be written."""

    custom_id: str
    """Ours, as Intent.custom_id made it; or anything, if the provider is confused."""
    outcome: Outcome
    response: bytes | None
    """JSON: {"status_code": int, "request_id": str, "body": {...}}; None if never run."""
    error: bytes | None
    """JSON: {"code": str, "message": str} of every line that did not succeed, beside the response
    if there is one; None of a success, whose status is one of 200 to 299."""
    usage: Usage = NO_USAGE
    """Of an answer that failed as well: it was paid for."""


class ProviderUnavailable(Exception):
    """The provider did not answer or answered with a transient error; try again later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProviderRejected(Exception):
    """The provider refused a read or a cancel for good (bad key, unknown id)."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    @property
    def access(self) -> bool:
        """Whether it is the key that was refused."""
        return is_access(self.status, self.code)


class ResultsGone(ProviderRejected):
    """The provider has deleted the results of a batch: they can never be read again."""


EncodedLine: TypeAlias = tuple[bytes, Sequence[str]]
"""A request in the provider's form, JSON without a newline; and the paths of what a lenient
translation left out, such as "body.seed"."""


class Provider(Protocol):
    """One provider with one credential. Safe for concurrent use by many tasks."""

    name: str
    limits: ProviderLimits
    framing: Framing
    keeps_results: timedelta
    """How long the results of a batch can be fetched after its end, at least."""
    input_lifetime: timedelta
    """How long the provider keeps an uploaded input; zero: it has no uploads."""

    def encode_line(
        self, custom_id: str, url: str, model: str, body: bytes, *, lenient: bool = False
    ) -> EncodedLine:
        """Put one request into the provider's form.

        `custom_id` is ours; `url` the endpoint; `model` the user's model as named in
        the file (prefix and all); `body` the raw JSON of the request's body.
        `lenient`: leave out what the provider lacks, instead of rejecting the line.
        Raises LineRejected.
        """
        ...

    def remote_model(self, model: str) -> str:
        """The provider's id of the user's model ("openai/gpt-4.1" -> "gpt-4.1")."""
        ...

    async def check(self) -> None:
        """Make a call that costs nothing and needs the key.

        Raises ProviderUnavailable, ProviderRejected.
        """
        ...

    async def submit(
        self, intent: Intent, source: Path | Upload, *, gate: Gate = always_open
    ) -> SubmitOutcome:
        """Upload the spool and create the batch. Never repeats the create by itself.

        `source`: the spool; or what an earlier attempt has uploaded, which is used as it is.
        Takes no longer than the provider timeout in all. Awaits `gate` once, as the last
        thing before the create is sent, and lets through what it raises. What was uploaded
        stays, whatever comes of the create: the gate and the outcome name it.
        """
        ...

    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        """Ask whether the batch of an intent exists. `known`: remote ids already ours.

        That of another attempt with the same upload is not the intent's.

        `quiet_since`: the moment since which no create for this intent can be under
        way; absence is believed only a settle time after it, since a new batch may show
        late. None: the intent's time plus the longest call (the provider timeout).
        Raises ProviderUnavailable, ProviderRejected.
        """
        ...

    async def poll(self, remote_id: str) -> RemoteBatch:
        """Ask how the batch stands. Raises ProviderUnavailable, ProviderRejected.

        Right after a create a provider may not know the batch yet (status 404).
        """
        ...

    async def poll_many(self, remote_ids: Collection[str], oldest: datetime) -> Listed:
        """Ask for many batches at once, through the provider's list.

        `oldest`: when the first of them was created, by our clock. Reads page after page,
        until all are found, the list has come to what is older, or reading on costs more
        calls than it saves. A batch may be missing though it exists: it is younger than
        what the list shows, or too many lie before it. Raises ProviderUnavailable,
        ProviderRejected.
        """
        ...

    def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        """Stream the results in any order, a group of lines at a time.

        Lines that are not readable are left out (and their number logged): the caller
        compares the set of lines that came with the set it sent. Raises
        ProviderUnavailable when the stream breaks; the caller starts again. Raises
        ResultsGone, ProviderRejected. A caller that stops early closes the iterator
        (contextlib.aclosing).
        """
        ...

    async def cancel(self, remote_id: str) -> None:
        """Ask for the end. No error when it has ended already."""
        ...

    async def discard(self, remote_file_id: str) -> None:
        """Delete an uploaded input file that is no longer needed; never raises for absence."""
        ...

    async def discard_all(self, shard_id: str, since: datetime) -> int:
        """Delete every upload of a shard, found by their names; returns how many.

        `since`: none is older. Files of others stay. Raises ProviderUnavailable,
        ProviderRejected.
        """
        ...

    async def close(self) -> None: ...


Registry = Mapping[str, Provider]
"""Provider slug ("openai", "anthropic") to its adapter."""

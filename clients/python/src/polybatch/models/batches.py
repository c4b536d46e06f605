"""A batch and what stands in it. Fields are those of protos/polybatch/v1/batches.proto."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from polybatch.models.messages import from_message
from polybatch.models.money import from_money
from polybatch.models.steering import BatchPriority, Canary
from polybatch.v1 import batches_pb2 as pb


class BatchState(StrEnum):
    """Where a batch stands; the values are OpenAI's."""

    UNSPECIFIED = "unspecified"
    """A state that this version of the client does not know."""
    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self in _ENDED

    @classmethod
    def from_proto(cls, number: int) -> BatchState:
        """Returns the state for its number on the wire; UNSPECIFIED for one yet unknown."""
        return _BY_NUMBER.get(number, cls.UNSPECIFIED)

    def to_proto(self) -> int:
        """Returns the number on the wire."""
        return _NUMBERS[self]


_ENDED = frozenset(
    {BatchState.COMPLETED, BatchState.FAILED, BatchState.EXPIRED, BatchState.CANCELLED}
)
_NUMBERS: dict[BatchState, int] = {
    state: pb.BatchState.Value(f"BATCH_STATE_{state.name}") for state in BatchState
}
_BY_NUMBER: dict[int, BatchState] = {number: state for state, number in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Lines by where they stand; `total` is the sum of the others."""

    total: int
    succeeded: int
    failed: int
    """Failed for good: answered with an error, or invalid."""
    queued: int
    """Not yet sent to a provider."""
    submitted: int
    """At a provider."""
    processed: int
    """Finished at the provider, result not fetched yet."""
    retrying: int
    """Failed for a transient reason; being sent again."""
    cancelled: int = 0
    """Not run, or not answered in time, because the batch was cancelled."""
    expired: int = 0
    """The same because the completion window closed, or the provider's own time ran out."""

    @property
    def unsuccessful(self) -> int:
        """Lines that ended without success: failed, cancelled or expired."""
        return self.failed + self.cancelled + self.expired

    @property
    def finished(self) -> int:
        """Lines whose outcome is settled."""
        return self.succeeded + self.unsuccessful

    @classmethod
    def from_proto(cls, message: Any) -> RequestCounts:
        """Builds it from polybatch.v1.RequestCounts."""
        return from_message(cls, message)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens used by the lines answered so far."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    cache_write_tokens: int = 0
    """Part of `input_tokens`: written to the provider's cache."""

    @classmethod
    def from_proto(cls, message: Any) -> Usage:
        """Builds it from polybatch.v1.Usage."""
        return from_message(cls, message)


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What a batch costs, in USD."""

    so_far: Decimal
    """Of the lines that are settled."""
    expected: Decimal | None
    """When it was made, what it should cost in all; None where that is not known."""
    at_most: Decimal | None
    """Likewise, if every answer is as long as it may be."""
    reserved: Decimal | None
    """Held of the account's credits; None where nothing is held."""
    unpriced_line_count: int
    """Lines that were answered and whose model has no price; they are not in `so_far`."""
    max_cost: Decimal | None
    """What would go past it is not sent; None: no limit."""
    family: Decimal | None = None
    """Of the batch, of all that are retries of it, and of theirs; None where it has none."""
    saved: Decimal | None = None
    """What lines would have cost that took the answers of equal ones."""

    @classmethod
    def from_proto(cls, message: Any) -> BatchCost:
        """Builds it from polybatch.v1.BatchCost."""
        return from_message(cls, message, so_far=from_money(message.so_far))


@dataclass(frozen=True, slots=True)
class CompletionEstimate:
    """When a batch should end, learned from how long its providers and models took lately."""

    likely_from: datetime
    """With half of all batches the end lies between this and `likely_until`."""
    likely_until: datetime
    range_from: datetime
    """With nine of ten between this and `range_until`."""
    range_until: datetime

    @classmethod
    def from_proto(cls, message: Any) -> CompletionEstimate:
        """Builds it from polybatch.v1.CompletionEstimate."""
        return from_message(cls, message)


@dataclass(frozen=True, slots=True)
class BatchError:
    """Why a batch as such could not run, or why all of its lines failed."""

    code: str
    message: str
    line: int = 0
    """1-based number of the input line that is wrong; 0: none in particular."""
    field: str = ""
    """Path of its field, such as "body.model"; empty for the line as a whole."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Lines that go to one provider as one batch of its own."""

    id: str
    provider: str
    model: str
    line_count: int
    state: str
    """"queued", "submitting", "submitted", "running" (line by line, at a provider without
    batches), "fetching" or "settled"."""
    provider_batch_id: str
    """Empty before the provider has given one."""
    waiting_reason: str
    """Why it waits, human-readable; empty when it does not."""
    cost: Decimal | None = None
    """Of its lines, in USD; None until it is settled."""

    @classmethod
    def from_proto(cls, message: Any) -> Shard:
        """Builds it from polybatch.v1.ShardStatus."""
        return from_message(cls, message)


@dataclass(frozen=True, slots=True)
class Batch:
    """A snapshot of a batch."""

    id: str
    state: BatchState
    revision: int
    """Raised by one with every change."""
    input_file_id: str
    endpoint: str
    """The url of all lines, such as "/v1/chat/completions"."""
    request_counts: RequestCounts
    progress_percent: float
    """0 to 100, of lines that are finished."""
    display_state: str
    """"In Progress", "Completed" or "Failed"."""
    errors: tuple[BatchError, ...]
    """Why it has FAILED; and of an ended batch how many lines were not sent, and why: with the
    code "cost_limit", "canary_failed" or "failure_limit"."""
    metadata: Mapping[str, str]
    completion_window: timedelta
    skip_invalid_lines: bool
    lenient_translation: bool
    usage: Usage
    created_at: datetime | None
    in_progress_at: datetime | None
    finalizing_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    expired_at: datetime | None
    cancelling_at: datetime | None
    cancelled_at: datetime | None
    expires_at: datetime | None
    """When the completion window closes."""
    shards: tuple[Shard, ...]
    """At most 20, those that have not settled first."""
    shard_count: int
    waiting_reason: str = ""
    """Why the batch as a whole waits; empty when it does not."""
    fail_fast: bool = False
    """Lines fail at once where their provider refuses the key, instead of waiting."""
    late_line_count: int = 0
    """Lines that were answered after the batch had ended; they are in the newest results."""
    awaited_line_count: int = 0
    """Lines of an ended batch that a provider may still answer; they count as failed, cancelled
    or expired until then."""
    awaited_until: datetime | None = None
    """Until when late answers are waited for; None where none are."""
    results_revision: int = 0
    """Raised each time that late answers change the results; 0 before the first results."""
    webhook_url: str = ""
    """Where the event of its end is delivered to besides the account's webhook endpoints."""
    common_cause: BatchError | None = None
    """Of an ended batch without one success, whose lines all have the same error code: that
    code and its message."""
    cost: BatchCost | None = None
    """None of a service that does not reckon costs yet."""
    key_id: str = ""
    """The key that it is billed to; empty for batches from before keys were kept."""
    parent_batch_id: str = ""
    """The batch whose lines it retries; empty where it is none."""
    child_batch_ids: tuple[str, ...] = ()
    """Those that retry lines of it, oldest first."""
    name: str = ""
    results_expire_at: datetime | None = None
    """When its results and its input are deleted, or were; None: they are kept."""
    succeeded_results_deleted: bool = False
    """The results of the lines that succeeded cannot be had any more."""
    failed_results_deleted: bool = False
    """Nor those of the others."""
    completion_estimate: CompletionEstimate | None = None
    """When it should end; None where too little is known, and once it has ended."""
    reuse_answers: timedelta | None = None
    """As of `create_batch`; None: every line is run."""
    reused_line_count: int = 0
    """Lines that took the answer of an equal one."""
    paused_at: datetime | None = None
    """Since when nothing more of it is sent; None where it is not paused."""
    paused_by: str = ""
    """The id of the key that paused it."""
    rescue_before: timedelta | None = None
    """So long before `expires_at` what is not answered is called line by line; None: never."""
    rescued_line_count: int = 0
    """Lines that were."""
    priority: BatchPriority = BatchPriority.NORMAL
    canary: Canary | None = None
    """The lines that go first; None: it has none."""
    max_failure_rate: float | None = None
    """Nothing more is sent once a larger share of its lines failed; None: no limit."""

    @property
    def ended(self) -> bool:
        """Whether it has ended; from then on only late answers change anything."""
        return self.state.ended

    @property
    def ok(self) -> bool:
        """Whether it is completed and every line succeeded."""
        return self.state is BatchState.COMPLETED and self.request_counts.unsuccessful == 0

    @classmethod
    def from_proto(cls, message: Any) -> Batch:
        """Builds it from polybatch.v1.Batch."""
        return from_message(
            cls,
            message,
            state=BatchState.from_proto(message.state),
            request_counts=RequestCounts.from_proto(message.request_counts),
            errors=tuple(
                BatchError(error.code, error.message, error.line, error.field)
                for error in message.errors
            ),
            metadata=dict(message.metadata),
            child_batch_ids=tuple(message.child_batch_ids),
            completion_window=message.completion_window.ToTimedelta(),
            usage=Usage.from_proto(message.usage),
            shards=tuple(Shard.from_proto(shard) for shard in message.shards),
            common_cause=BatchError(message.common_cause.code, message.common_cause.message)
            if message.HasField("common_cause")
            else None,
            cost=BatchCost.from_proto(message.cost) if message.HasField("cost") else None,
            priority=BatchPriority.from_proto(message.priority),
            canary=Canary.from_proto(message.canary) if message.HasField("canary") else None,
            succeeded_results_deleted=pb.RESULTS_KIND_SUCCEEDED in message.deleted_results,
            failed_results_deleted=pb.RESULTS_KIND_FAILED in message.deleted_results,
            completion_estimate=CompletionEstimate.from_proto(message.completion_estimate)
            if message.HasField("completion_estimate")
            else None,
        )

"""A batch and what stands in it. Fields are those of protos/polybatch/v1/batches.proto."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from polybatch.models.money import from_money, usd
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
        return cls(
            total=message.total,
            succeeded=message.succeeded,
            failed=message.failed,
            queued=message.queued,
            submitted=message.submitted,
            processed=message.processed,
            retrying=message.retrying,
            cancelled=message.cancelled,
            expired=message.expired,
        )


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
        return cls(
            input_tokens=message.input_tokens,
            cached_input_tokens=message.cached_input_tokens,
            output_tokens=message.output_tokens,
            reasoning_tokens=message.reasoning_tokens,
            total_tokens=message.total_tokens,
            cache_write_tokens=message.cache_write_tokens,
        )


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

    @classmethod
    def from_proto(cls, message: Any) -> BatchCost:
        """Builds it from polybatch.v1.BatchCost."""
        return cls(
            so_far=from_money(message.so_far),
            expected=usd(message, "expected"),
            at_most=usd(message, "at_most"),
            reserved=usd(message, "reserved"),
            unpriced_line_count=message.unpriced_line_count,
            max_cost=usd(message, "max_cost"),
        )


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
        return cls(
            likely_from=message.likely_from.ToDatetime(tzinfo=UTC),
            likely_until=message.likely_until.ToDatetime(tzinfo=UTC),
            range_from=message.range_from.ToDatetime(tzinfo=UTC),
            range_until=message.range_until.ToDatetime(tzinfo=UTC),
        )


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
        return cls(
            id=message.id,
            provider=message.provider,
            model=message.model,
            line_count=message.line_count,
            state=message.state,
            provider_batch_id=message.provider_batch_id,
            waiting_reason=message.waiting_reason,
            cost=usd(message, "cost"),
        )


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
    """Why it has FAILED; and of an ended batch with a `max_cost`, with the code "cost_limit", how
    many lines were not sent for it."""
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
    name: str = ""
    results_expire_at: datetime | None = None
    """When its results and its input are deleted, or were; None: they are kept."""
    succeeded_results_deleted: bool = False
    """The results of the lines that succeeded cannot be had any more."""
    failed_results_deleted: bool = False
    """Nor those of the others."""
    completion_estimate: CompletionEstimate | None = None
    """When it should end; None where too little is known, and once it has ended."""

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
        return cls(
            id=message.id,
            state=BatchState.from_proto(message.state),
            revision=message.revision,
            input_file_id=message.input_file_id,
            endpoint=message.endpoint,
            request_counts=RequestCounts.from_proto(message.request_counts),
            progress_percent=message.progress_percent,
            display_state=message.display_state,
            errors=tuple(
                BatchError(error.code, error.message, error.line, error.field)
                for error in message.errors
            ),
            metadata=dict(message.metadata),
            completion_window=message.completion_window.ToTimedelta(),
            skip_invalid_lines=message.skip_invalid_lines,
            lenient_translation=message.lenient_translation,
            usage=Usage.from_proto(message.usage),
            created_at=time_or_none(message, "created_at"),
            in_progress_at=time_or_none(message, "in_progress_at"),
            finalizing_at=time_or_none(message, "finalizing_at"),
            completed_at=time_or_none(message, "completed_at"),
            failed_at=time_or_none(message, "failed_at"),
            expired_at=time_or_none(message, "expired_at"),
            cancelling_at=time_or_none(message, "cancelling_at"),
            cancelled_at=time_or_none(message, "cancelled_at"),
            expires_at=time_or_none(message, "expires_at"),
            shards=tuple(Shard.from_proto(shard) for shard in message.shards),
            shard_count=message.shard_count,
            waiting_reason=message.waiting_reason,
            fail_fast=message.fail_fast,
            late_line_count=message.late_line_count,
            awaited_line_count=message.awaited_line_count,
            awaited_until=time_or_none(message, "awaited_until"),
            results_revision=message.results_revision,
            webhook_url=message.webhook_url,
            common_cause=BatchError(message.common_cause.code, message.common_cause.message)
            if message.HasField("common_cause")
            else None,
            cost=BatchCost.from_proto(message.cost) if message.HasField("cost") else None,
            key_id=message.key_id,
            name=message.name,
            results_expire_at=time_or_none(message, "results_expire_at"),
            succeeded_results_deleted=pb.RESULTS_KIND_SUCCEEDED in message.deleted_results,
            failed_results_deleted=pb.RESULTS_KIND_FAILED in message.deleted_results,
            completion_estimate=CompletionEstimate.from_proto(message.completion_estimate)
            if message.HasField("completion_estimate")
            else None,
        )


def time_or_none(message: Any, field: str) -> datetime | None:
    """Returns a timestamp field in UTC, None where it is not set."""
    if not message.HasField(field):
        return None
    moment: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return moment

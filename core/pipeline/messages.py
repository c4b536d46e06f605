"""Rows of the ledger as protobuf messages."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money  # type: ignore[import-untyped]
from polybatch.v1 import batches_pb2, files_pb2, results_pb2

from core.batchfile import ResultTotals
from core.ledger import (
    TERMINAL,
    Batch,
    BatchState,
    CanaryState,
    FamilyFacts,
    File,
    FileState,
    Ledger,
    Priority,
    ResultsGone,
    Shard,
    ShardPurpose,
    ShardState,
    paused_reason,
    stopped_lines,
)
from core.pipeline.expected_end import expected_end
from core.prices.rates import NANO

STATES = {
    BatchState.VALIDATING: batches_pb2.BATCH_STATE_VALIDATING,
    BatchState.IN_PROGRESS: batches_pb2.BATCH_STATE_IN_PROGRESS,
    BatchState.FINALIZING: batches_pb2.BATCH_STATE_FINALIZING,
    BatchState.COMPLETED: batches_pb2.BATCH_STATE_COMPLETED,
    BatchState.FAILED: batches_pb2.BATCH_STATE_FAILED,
    BatchState.EXPIRED: batches_pb2.BATCH_STATE_EXPIRED,
    BatchState.CANCELLING: batches_pb2.BATCH_STATE_CANCELLING,
    BatchState.CANCELLED: batches_pb2.BATCH_STATE_CANCELLED,
}

_DISPLAY = {
    BatchState.COMPLETED: "Completed",
    BatchState.FAILED: "Failed",
    BatchState.EXPIRED: "Failed",
    BatchState.CANCELLED: "Failed",
}
_FILE_STATES = {
    FileState.READY: files_pb2.FILE_STATE_READY,
    FileState.INVALID: files_pb2.FILE_STATE_INVALID,
}
_RESULTS_KINDS = {
    ResultsGone.SUCCEEDED: batches_pb2.RESULTS_KIND_SUCCEEDED,
    ResultsGone.FAILED: batches_pb2.RESULTS_KIND_FAILED,
}
_PRIORITIES = {
    Priority.LOW: batches_pb2.BATCH_PRIORITY_LOW,
    Priority.NORMAL: batches_pb2.BATCH_PRIORITY_NORMAL,
    Priority.HIGH: batches_pb2.BATCH_PRIORITY_HIGH,
}
_CANARY_STATES = {
    CanaryState.NONE: batches_pb2.CANARY_STATE_UNSPECIFIED,
    CanaryState.RUNNING: batches_pb2.CANARY_STATE_RUNNING,
    CanaryState.PASSED: batches_pb2.CANARY_STATE_PASSED,
    CanaryState.FAILED: batches_pb2.CANARY_STATE_FAILED,
}
SHOWN_SHARDS = 20
SHOWN_MODELS = 100


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    span = Duration()
    span.FromNanoseconds(round(seconds * NANO))
    return span


def money(nanos: int) -> Money:
    """Nano-dollars as an amount of USD."""
    # Units and nanos have the same sign.
    units, rest = divmod(abs(nanos), NANO)
    sign = -1 if nanos < 0 else 1
    return Money(currency_code="USD", units=sign * units, nanos=sign * rest)


def file_message(file: File) -> files_pb2.File:
    """A file as clients see it; at most 100 of its models, those without a line left out."""
    shown = [group for group in file.groups if group["lines"]][:SHOWN_MODELS]
    return files_pb2.File(
        id=file.id,
        filename=file.filename,
        state=_FILE_STATES[FileState(file.state)],
        bytes=file.bytes,
        sha256=file.sha256,
        line_count=file.line_count,
        invalid_line_count=file.invalid_line_count,
        problem_count=file.problem_count,
        lenient_line_count=file.lenient_line_count,
        endpoint=file.endpoint,
        created_at=file.created_at,
        expires_at=file.expires_at,
        models=[
            files_pb2.ModelCount(
                provider=group["provider"], model=group["model"], line_count=group["lines"]
            )
            for group in shown
        ],
    )


_ALONE = FamilyFacts()


def batch_message(
    batch: Batch, shards: Sequence[Shard], family: FamilyFacts = _ALONE
) -> batches_pb2.Batch:
    """A batch as clients see it, with the given shards."""
    state = BatchState(batch.state)
    progress = 100.0 * batch.finished_high_water / batch.total if batch.total else 0.0
    return batches_pb2.Batch(
        id=batch.id,
        state=STATES[state],
        revision=batch.revision,
        input_file_id=batch.input_file_id,
        endpoint=batch.endpoint,
        request_counts=batches_pb2.RequestCounts(
            total=batch.total,
            succeeded=batch.succeeded,
            failed=batch.failed - batch.cancelled - batch.expired,
            cancelled=batch.cancelled,
            expired=batch.expired,
            queued=batch.queued,
            submitted=batch.submitted,
            processed=batch.processed,
            retrying=batch.retrying,
        ),
        progress_percent=progress,
        display_state=_DISPLAY.get(state, "In Progress"),
        errors=[
            batches_pb2.BatchError(
                code=error["code"],
                message=error["message"],
                line=error.get("line", 0),
                field=error.get("field", ""),
            )
            for error in batch.errors
        ],
        common_cause=(
            batches_pb2.BatchError(
                code=batch.common_cause["code"], message=batch.common_cause["message"]
            )
            if batch.common_cause
            else None
        ),
        cost=_cost(batch, family),
        parent_batch_id=batch.parent_id,
        child_batch_ids=family.child_ids,
        metadata=batch.details,
        completion_window=_duration(batch.window_seconds),
        skip_invalid_lines=batch.skip_invalid_lines,
        lenient_translation=batch.lenient_translation,
        fail_fast=batch.fail_fast,
        late_line_count=batch.late,
        awaited_line_count=batch.awaited if state in TERMINAL else 0,
        awaited_until=batch.awaited_until if state in TERMINAL else None,
        results_revision=batch.results_revision,
        waiting_reason=batch.waiting_reason or _kept_back(batch),
        usage=_usage(batch),
        created_at=batch.created_at,
        in_progress_at=batch.in_progress_at,
        finalizing_at=batch.finalizing_at,
        completed_at=batch.completed_at,
        failed_at=batch.failed_at,
        expired_at=batch.expired_at,
        cancelling_at=batch.cancelling_at,
        cancelled_at=batch.cancelled_at,
        expires_at=batch.expires_at,
        shards=[_shard_message(shard) for shard in shards],
        shard_count=batch.shard_count,
        key_id=batch.key_id,
        webhook_url=batch.webhook_url,
        reuse_answers=_duration(batch.reuse_seconds),
        reused_line_count=batch.reused,
        paused_at=None if batch.ended else batch.paused_at,
        paused_by="" if batch.ended else batch.paused_by,
        name=batch.name,
        results_expire_at=batch.results_expire_at,
        deleted_results=[
            kind for gone, kind in _RESULTS_KINDS.items() if gone in ResultsGone(batch.results_gone)
        ],
        rescue_before=_duration(batch.rescue_seconds),
        rescued_line_count=batch.rescued,
        priority=_PRIORITIES[Priority(batch.priority)],
        canary=_canary(batch),
        max_failure_rate=batch.max_failure_rate,
    )


def _kept_back(batch: Batch) -> str:
    """Why nothing more of a batch is sent; empty where it goes on."""
    if batch.ended:
        return ""
    if batch.halt_code:
        return f"{batch.halt_code}: {batch.halt_message}; what is at providers comes home"
    if batch.paused_at is not None:
        return paused_reason(batch.paused_at, batch.paused_by)
    return ""


def _canary(batch: Batch) -> batches_pb2.Canary | None:
    if not batch.canary_lines:
        return None
    state = CanaryState(batch.canary_state)
    if batch.ended and state is CanaryState.RUNNING:
        # It was stopped before.
        state = CanaryState.NONE
    return batches_pb2.Canary(
        lines_per_model=batch.canary_lines,
        max_failure_rate=batch.canary_max_failure_rate,
        state=_CANARY_STATES[state],
    )


async def shown_batch(ledger: Ledger, batch: Batch) -> batches_pb2.Batch:
    """A batch as clients see it, with the shards that matter most to them."""
    return (await shown_batches(ledger, [batch]))[0]


async def shown_batches(ledger: Ledger, batches: Sequence[Batch]) -> list[batches_pb2.Batch]:
    """The same for a page of batches."""
    shards = await ledger.shards.shown([batch.id for batch in batches], SHOWN_SHARDS)
    families = await ledger.families.facts(batches)
    shown = []
    for batch in batches:
        message = batch_message(batch, shards[batch.id], families.get(batch.id, _ALONE))
        ends = await expected_end(ledger, batch, shards[batch.id])
        if ends is not None:
            message.completion_estimate.CopyFrom(ends)
        shown.append(message)
    return shown


def manifest_message(
    batch: Batch,
    file: File,
    shards: Sequence[Shard],
    written: ResultTotals,
) -> results_pb2.Manifest:
    """The manifest of a batch whose result file is written."""
    # What late answers have cost is in the sum when they are in the results.
    told = [shard for shard in shards if not shard.given_up]
    return results_pb2.Manifest(
        batch_id=batch.id,
        input_sha256=file.sha256,
        input_line_count=file.line_count,
        results_sha256=written.sha256,
        results_bytes=written.bytes,
        request_counts=batches_pb2.RequestCounts(
            total=written.lines,
            succeeded=written.succeeded,
            failed=written.failed - written.cancelled - written.expired,
            cancelled=written.cancelled,
            expired=written.expired,
        ),
        usage=_usage(batch),
        shards=[_manifest_shard(shard) for shard in shards],
        results_revision=batch.results_revision,
        late_line_count=batch.late,
        awaited_line_count=batch.awaited,
        cost=money(sum(shard.cost_nanos for shard in told)),
        unpriced_line_count=sum(shard.unpriced_lines for shard in told),
    )


def _manifest_shard(shard: Shard) -> results_pb2.ManifestShard:
    succeeded, failed = shard.succeeded, shard.failed
    stopped = {"cancelled": shard.cancelled, "expired": shard.expired}
    if shard.given_up:
        succeeded, failed = 0, shard.line_count
        stopped = stopped_lines(shard.fill_code, shard.line_count)
    return results_pb2.ManifestShard(
        id=shard.id,
        provider=shard.provider,
        model=shard.model,
        provider_batch_id=shard.remote_id,
        line_count=shard.line_count,
        succeeded=succeeded,
        failed=failed - sum(stopped.values()),
        retried=shard.retried,
        cost=money(0 if shard.given_up else shard.cost_nanos),
        **stopped,
    )


def _cost(batch: Batch, family: FamilyFacts) -> batches_pb2.BatchCost:
    def maybe(nanos: int | None) -> Money | None:
        return None if nanos is None else money(nanos)

    return batches_pb2.BatchCost(
        so_far=money(batch.cost_nanos),
        expected=maybe(batch.expected_nanos),
        at_most=maybe(batch.at_most_nanos),
        reserved=maybe(batch.reserved_nanos or None),
        unpriced_line_count=batch.unpriced_lines,
        max_cost=maybe(batch.max_cost_nanos),
        family=money(family.cost_nanos) if batch.retries else None,
        saved=maybe(batch.saved_nanos or None),
    )


def _usage(batch: Batch) -> batches_pb2.Usage:
    return batches_pb2.Usage(
        input_tokens=batch.input_tokens,
        cached_input_tokens=batch.cached_input_tokens,
        output_tokens=batch.output_tokens,
        reasoning_tokens=batch.reasoning_tokens,
        total_tokens=batch.input_tokens + batch.output_tokens,
        cache_write_tokens=batch.cache_write_tokens,
    )


def _waits(shard: Shard) -> bool:
    return shard.purpose == ShardPurpose.TWINS and shard.state != ShardState.SETTLED


def _shard_message(shard: Shard) -> batches_pb2.ShardStatus:
    return batches_pb2.ShardStatus(
        id=shard.id,
        provider=shard.provider,
        model=shard.model,
        line_count=shard.line_count,
        # Lines that wait for the answers of equal ones go nowhere.
        state=ShardState.QUEUED if _waits(shard) else shard.state,
        provider_batch_id=shard.remote_id,
        waiting_reason=shard.waiting_reason,
        cost=money(shard.cost_nanos) if shard.state == ShardState.SETTLED else None,
        submitted_at=shard.submitted_at,
        settled_at=shard.settled_at,
    )


def nanos_of(amount: Money) -> int:
    """The nano-dollars of an amount of USD. Raises ValueError with what was expected."""
    if amount.currency_code != "USD":
        raise ValueError('currency_code "USD"')
    if abs(amount.nanos) >= NANO:
        raise ValueError("nanos from -999,999,999 to 999,999,999")
    if amount.units * amount.nanos < 0:
        raise ValueError("units and nanos of the same sign")
    return int(amount.units * NANO + amount.nanos)

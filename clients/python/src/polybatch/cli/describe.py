"""What a batch's snapshot says, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from polybatch.cli.output import about_usd, counted, duration, moment, usd

if TYPE_CHECKING:
    from polybatch import Batch, BatchError, Shard

_SHOWN_SHARDS = 5
_UNSURE_PACE = 1.0
"""Seconds in which no rate is told yet."""


def describe_state(batch: Batch) -> str:
    """Returns the state in its three words, with the fine state beside them."""
    return f"{batch.display_state} ({batch.state})"


def describe_counts(batch: Batch) -> str:
    """Returns the counts that say something."""
    counts = batch.request_counts
    parts = [f"{counts.finished:,} of {counted(counts.total, 'line')} done"]
    for number, word in (
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.expired, "expired"),
        (counts.processed, "answered"),
        (counts.submitted, "running at the provider"),
        (counts.retrying, "to be sent again"),
        (counts.queued, "waiting"),
    ):
        if number:
            parts.append(f"{number:,} {word}")
    return ", ".join(parts)


def describe_cost(batch: Batch) -> str:
    """Returns what it has cost so far, exactly, and what of it is not known; else nothing."""
    cost = batch.cost
    if cost is None:
        return ""
    parts = [f"{usd(cost.so_far)} USD"]
    if cost.expected is not None and not batch.ended:
        parts.append(f"expected {about_usd(cost.expected)} in all")
    if cost.max_cost is not None:
        parts.append(f"max cost {usd(cost.max_cost)}")
    if batch.reused_line_count:
        lines = counted(batch.reused_line_count, "line")
        parts.append(f"{usd(cost.saved or Decimal())} saved by {lines} with a reused answer")
    if cost.family is not None:
        parts.append(f"{usd(cost.family)} USD with its retries")
    if cost.unpriced_line_count:
        lines = counted(cost.unpriced_line_count, "line")
        parts.append(f"and {lines} of models without a price")
    return ", ".join(parts)


def describe_canary(batch: Batch) -> str:
    """Returns how the lines that go first fare; else nothing."""
    canary = batch.canary
    if canary is None:
        return ""
    lines = f"{counted(canary.lines_per_model, 'line')} of each model"
    state = {"none": "stopped before they had their outcome"}.get(canary.state, canary.state)
    return f"{state} ({lines}, at most {canary.max_failure_rate:g} of them may fail)"


def describe_pace(batch: Batch, now: datetime | None = None) -> str:
    """Returns how long it has run, or ran, and how fast, once that is known; else nothing."""
    if batch.created_at is None:
        return ""
    end = now or datetime.now(UTC)
    if batch.ended:
        ends = (batch.completed_at, batch.failed_at, batch.expired_at, batch.cancelled_at)
        end = max((each for each in ends if each is not None), default=batch.created_at)
    elapsed = (end - batch.created_at).total_seconds()
    if elapsed <= 0:
        # Not told, or the clock of this machine is behind the service's.
        return ""
    parts = [duration(elapsed)]
    began = batch.in_progress_at
    ran = (end - began).total_seconds() if began is not None else 0.0
    if batch.request_counts.succeeded and ran > _UNSURE_PACE:
        parts.append(_rate(batch.request_counts.finished / ran))
    return ", ".join(parts)


def describe_end(batch: Batch, now: datetime | None = None) -> str:
    """Returns when it should end, in the local time, as far as anybody knows; else nothing."""
    found = batch.completion_estimate
    if found is None or batch.ended:
        return ""
    day = (now or datetime.now(UTC)).astimezone().date()

    def shown(moment: datetime) -> str:
        local = moment.astimezone()
        return f"{local:%H:%M}" if local.date() == day else f"{local:%m-%d %H:%M}"

    likely = _range(shown(found.likely_from), shown(found.likely_until))
    whole = _range(shown(found.range_from), shown(found.range_until))
    return f"should end at {likely}" + (f" (9 of 10: {whole})" if whole != likely else "")


def _range(begin: str, end: str) -> str:
    return begin if begin == end else f"{begin} to {end}"


def _rate(per_second: float) -> str:
    seconds, unit = next(
        (each for each in ((1, "s"), (60, "min")) if per_second * each[0] >= 1), (3600, "h")
    )
    rate = per_second * seconds
    return f"{rate:,.0f} lines/{unit}" if rate >= 10 else f"{rate:.1f} lines/{unit}"


def describe_late(batch: Batch) -> list[str]:
    """Returns a line each for answers that came after the end, for those that may come, and for
    those that were called for in time."""
    lines = []
    if batch.rescued_line_count:
        were = "was" if batch.rescued_line_count == 1 else "were"
        lines.append(
            f"{counted(batch.rescued_line_count, 'line')} {were} called one by one, at the "
            "real-time price, before the window closed"
        )
    if batch.late_line_count:
        were = "was" if batch.late_line_count == 1 else "were"
        lines.append(
            f"{counted(batch.late_line_count, 'line')} {were} answered after the batch had "
            f"ended; the results have them (revision {batch.results_revision})"
        )
    if batch.awaited_line_count:
        until = f", until {batch.awaited_until:%Y-%m-%d}" if batch.awaited_until else ""
        lines.append(
            f"{counted(batch.awaited_line_count, 'unanswered line')} may have been run and "
            f"billed: answers come into the results when the provider gives them{until}"
        )
    return lines


def describe_retention(batch: Batch) -> str:
    """Returns until when its results are kept, or that they are gone; else nothing."""
    if batch.succeeded_results_deleted and batch.failed_results_deleted:
        return "deleted"
    if batch.succeeded_results_deleted or batch.failed_results_deleted:
        which = "succeeded" if batch.succeeded_results_deleted else "failed"
        return f"of the lines that {which} are deleted"
    return f"are kept until {moment(batch.results_expire_at)}" if batch.results_expire_at else ""


def describe_waiting(batch: Batch) -> list[str]:
    """Returns a line for what waits, batch or shard, and for why a batch or all lines failed."""
    lines = [_describe_error(error) for error in batch.errors]
    if batch.common_cause:
        what = "every line failed" if batch.request_counts.failed else "no line was answered"
        lines.append(f"{what} for one cause: {_describe_error(batch.common_cause)}")
    if batch.waiting_reason:
        lines.append(f"waits: {batch.waiting_reason}")
    waiting = [shard for shard in batch.shards if shard.waiting_reason]
    lines += [_describe_shard(shard) for shard in waiting[:_SHOWN_SHARDS]]
    if len(waiting) > _SHOWN_SHARDS:
        lines.append(f"and {counted(len(waiting) - _SHOWN_SHARDS, 'more shard')} waiting")
    return lines


def why_lines_failed(batch: Batch) -> tuple[str, ...]:
    """Returns the words of the command that tells it."""
    return ("failures", batch.id, *(() if batch.ended else ("--by-cause", "--partial")))


def _describe_error(error: BatchError) -> str:
    # Batches made by an earlier release may have the code in the message as well.
    message = error.message.removeprefix(f"{error.code}: ").strip()
    return f"{error.code}: {message or 'no reason was given'}"


def _describe_shard(shard: Shard) -> str:
    model = shard.model.removeprefix(f"{shard.provider}/")
    name = f"{shard.provider} {model}".strip()
    return f"{name} ({counted(shard.line_count, 'line')}) waits: {shard.waiting_reason}"

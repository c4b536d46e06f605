"""What a batch's snapshot says, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polybatch import Batch, Shard

_SHOWN_SHARDS = 5


def describe_state(batch: Batch) -> str:
    """Returns the state in its three words, with the fine state beside them."""
    return f"{batch.display_state} ({batch.state})"


def describe_counts(batch: Batch) -> str:
    """Returns the counts that say something."""
    counts = batch.request_counts
    parts = [f"{counts.finished:,} of {counts.total:,} lines"]
    for number, word in (
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.expired, "expired"),
        (counts.retrying, "retrying"),
        (counts.processed, "processed"),
        (counts.submitted, "submitted"),
        (counts.queued, "queued"),
    ):
        if number:
            parts.append(f"{number:,} {word}")
    return ", ".join(parts)


def describe_late(batch: Batch) -> list[str]:
    """Returns a line each for answers that came after the end, and for those that may come."""
    lines = []
    if batch.late_line_count:
        lines.append(
            f"{batch.late_line_count:,} lines were answered after the batch had ended; they are in "
            f"its results (revision {batch.results_revision})"
        )
    if batch.awaited_line_count:
        until = f", until {batch.awaited_until:%Y-%m-%d}" if batch.awaited_until else ""
        lines.append(
            f"{batch.awaited_line_count:,} unanswered lines may have been run and billed: their "
            f"answers come into the results when the provider gives them{until}"
        )
    return lines


def describe_waiting(batch: Batch) -> list[str]:
    """Returns a line for what waits, batch or shard, and for why a batch or all lines failed."""
    lines = [f"{error.code}: {error.message}" for error in batch.errors]
    if batch.common_cause:
        cause = batch.common_cause
        lines.append(f"every line failed for one cause: {cause.code}: {cause.message}")
    if batch.waiting_reason:
        lines.append(f"waits: {batch.waiting_reason}")
    waiting = [shard for shard in batch.shards if shard.waiting_reason]
    lines += [_describe_shard(shard) for shard in waiting[:_SHOWN_SHARDS]]
    if len(waiting) > _SHOWN_SHARDS:
        lines.append(f"and {len(waiting) - _SHOWN_SHARDS} more shards wait")
    return lines


def _describe_shard(shard: Shard) -> str:
    model = shard.model.removeprefix(f"{shard.provider}/")
    name = f"{shard.provider} {model}".strip()
    return f"{name} ({shard.line_count:,} lines) waits: {shard.waiting_reason}"

"""Snapshots of batches for tests."""

from __future__ import annotations

from typing import Any

from polybatch.v1 import batches_pb2

_DISPLAY = {
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "EXPIRED": "Failed",
    "CANCELLED": "Failed",
}


def snapshot(
    batch_id: str, revision: int, state: str = "IN_PROGRESS", total: int = 100, **counts: int
) -> batches_pb2.Batch:
    """A snapshot; `counts` are those of RequestCounts, the rest of `total` is queued."""
    batch = batches_pb2.Batch(
        id=batch_id,
        revision=revision,
        state=batches_pb2.BatchState.Value(f"BATCH_STATE_{state}"),
        display_state=_DISPLAY.get(state, "In Progress"),
        request_counts=batches_pb2.RequestCounts(
            total=total, queued=total - sum(counts.values()), **counts
        ),
        shard_count=1,
    )
    done = sum(counts.get(name, 0) for name in ("succeeded", "failed", "cancelled", "expired"))
    batch.progress_percent = 100 * done / total
    batch.created_at.FromSeconds(1_800_000_000)
    return batch


def result_line(number: int, *, failed: bool = False, text: str = "hello") -> dict[str, Any]:
    """A line of a result file."""
    return {
        "id": f"res_{number}",
        "custom_id": f"request-{number}",
        "response": None
        if failed
        else {
            "status_code": 200,
            "request_id": f"req_{number}",
            "body": {"choices": [{"message": {"role": "assistant", "content": text}}]},
        },
        "error": {"code": "batch_expired", "message": "too late"} if failed else None,
    }

"""The engine's messages as OpenAI's objects. Times are whole seconds since 1970."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from polybatch.models import BatchPriority, ResultFilter
from polybatch.models.money import from_money
from polybatch.v1 import batches_pb2, files_pb2, providers_pb2

from services.web.ids import ResultsFile, shown_file

PURPOSE_INPUT = "batch"
PURPOSE_RESULTS = "batch_output"
_DAY = 86_400

_STATUSES = {
    batches_pb2.BATCH_STATE_VALIDATING: "validating",
    batches_pb2.BATCH_STATE_IN_PROGRESS: "in_progress",
    batches_pb2.BATCH_STATE_FINALIZING: "finalizing",
    batches_pb2.BATCH_STATE_COMPLETED: "completed",
    batches_pb2.BATCH_STATE_FAILED: "failed",
    batches_pb2.BATCH_STATE_EXPIRED: "expired",
    batches_pb2.BATCH_STATE_CANCELLING: "cancelling",
    batches_pb2.BATCH_STATE_CANCELLED: "cancelled",
}
RESULTS_KINDS = {
    ResultFilter.SUCCEEDED: batches_pb2.RESULTS_KIND_SUCCEEDED,
    ResultFilter.FAILED: batches_pb2.RESULTS_KIND_FAILED,
}
ENDED_WITH_RESULTS = (
    batches_pb2.BATCH_STATE_COMPLETED,
    batches_pb2.BATCH_STATE_EXPIRED,
    batches_pb2.BATCH_STATE_CANCELLED,
)


def file_object(file: files_pb2.File) -> dict[str, Any]:
    """An input file; `polybatch` holds what OpenAI has no field for."""
    return {
        "id": shown_file(file.id),
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at.seconds,
        "expires_at": file.expires_at.seconds if file.HasField("expires_at") else None,
        "filename": file.filename,
        "purpose": PURPOSE_INPUT,
        # Bad lines can be left out of a batch; of a file without any line there is none.
        "status": "processed" if file.line_count else "error",
        "status_details": None,
        "polybatch": {
            "valid": file.state == files_pb2.FILE_STATE_READY,
            "sha256": file.sha256,
            "line_count": file.line_count,
            "invalid_line_count": file.invalid_line_count,
            "endpoint": file.endpoint,
            "models": [
                {"provider": each.provider, "model": each.model, "line_count": each.line_count}
                for each in file.models
            ],
        },
    }


def with_problems(shown: dict[str, Any], problems: Any) -> dict[str, Any]:
    """A file object with the first problems of its lines."""
    shown["polybatch"]["problems"] = [
        {
            "line": each.line,
            "custom_id": each.custom_id,
            "field": each.field,
            "reason": each.reason,
            "message": each.message,
        }
        for each in problems
    ]
    return shown


def results_files(batch: batches_pb2.Batch) -> list[ResultsFile]:
    """Those of a batch that has ended: with the lines that succeeded, with the others."""
    if batch.state not in ENDED_WITH_RESULTS:
        return []
    counts = batch.request_counts
    return [
        ResultsFile(batch.id, which)
        for which, lines in (
            (ResultFilter.SUCCEEDED, counts.succeeded),
            (ResultFilter.FAILED, _failed(counts)),
        )
        if lines and RESULTS_KINDS[which] not in batch.deleted_results
    ]


def results_object(batch: batches_pb2.Batch, file: ResultsFile, size: int) -> dict[str, Any]:
    """A results file of so many bytes."""
    kind = "output" if file.which is ResultFilter.SUCCEEDED else "error"
    return {
        "id": file.shown,
        "object": "file",
        "bytes": size,
        "created_at": ended_at(batch),
        "expires_at": (
            batch.results_expire_at.seconds if batch.HasField("results_expire_at") else None
        ),
        "filename": f"{batch.id}_{kind}.jsonl",
        "purpose": PURPOSE_RESULTS,
        "status": "processed",
        "status_details": None,
    }


def ended_at(batch: batches_pb2.Batch) -> int | None:
    """When a batch ended; None before."""
    for name in ("completed_at", "failed_at", "expired_at", "cancelled_at"):
        if batch.HasField(name):
            moment: Timestamp = getattr(batch, name)
            return int(moment.seconds)
    return None


def batch_object(batch: batches_pb2.Batch) -> dict[str, Any]:
    """A batch; `polybatch` holds what OpenAI has no field for."""
    counts, usage = batch.request_counts, batch.usage
    files = {each.which: each.shown for each in results_files(batch)}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": _one_model(batch),
        "errors": _errors(batch),
        "input_file_id": shown_file(batch.input_file_id),
        "completion_window": _window(batch.completion_window.seconds),
        "status": _STATUSES[batch.state],
        "output_file_id": files.get(ResultFilter.SUCCEEDED),
        "error_file_id": files.get(ResultFilter.FAILED),
        "created_at": batch.created_at.seconds,
        **{
            name: getattr(batch, name).seconds if batch.HasField(name) else None
            for name in (
                "in_progress_at",
                "expires_at",
                "finalizing_at",
                "completed_at",
                "failed_at",
                "expired_at",
                "cancelling_at",
                "cancelled_at",
            )
        },
        "request_counts": {
            "total": counts.total,
            "completed": counts.succeeded,
            "failed": _failed(counts),
        },
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.total_tokens,
        },
        "metadata": dict(batch.metadata),
        "polybatch": _extras(batch),
    }


def _extras(batch: batches_pb2.Batch) -> dict[str, Any]:
    counts = batch.request_counts
    return {
        "revision": batch.revision,
        "display_state": batch.display_state,
        "progress_percent": batch.progress_percent,
        "waiting_reason": batch.waiting_reason or None,
        "request_counts": {
            name: getattr(counts, name)
            for name in (
                "total",
                "succeeded",
                "failed",
                "queued",
                "submitted",
                "processed",
                "retrying",
                "cancelled",
                "expired",
            )
        },
        "results_revision": batch.results_revision,
        "late_line_count": batch.late_line_count,
        "awaited_line_count": batch.awaited_line_count,
        "common_cause": (
            {"code": batch.common_cause.code, "message": batch.common_cause.message}
            if batch.HasField("common_cause")
            else None
        ),
        "output_file_id": ResultsFile(batch.id, ResultFilter.SUCCEEDED).shown,
        "error_file_id": ResultsFile(batch.id, ResultFilter.FAILED).shown,
        "cost": _cost(batch.cost),
        "key_id": batch.key_id or None,
        "webhook_url": batch.webhook_url or None,
        "name": batch.name or None,
        "priority": BatchPriority.from_proto(batch.priority),
        "parent_batch_id": batch.parent_batch_id or None,
        "child_batch_ids": list(batch.child_batch_ids),
        "paused_at": batch.paused_at.seconds if batch.HasField("paused_at") else None,
        "rescued_line_count": batch.rescued_line_count,
        "reused_line_count": batch.reused_line_count,
        "skip_invalid_lines": batch.skip_invalid_lines,
        "lenient_translation": batch.lenient_translation,
        "fail_fast": batch.fail_fast,
        "shard_count": batch.shard_count,
        "shards": [
            {
                "id": shard.id,
                "provider": shard.provider,
                "model": shard.model,
                "line_count": shard.line_count,
                "state": shard.state,
                "provider_batch_id": shard.provider_batch_id or None,
                "waiting_reason": shard.waiting_reason or None,
                "cost": _usd(shard, "cost"),
            }
            for shard in batch.shards
        ],
    }


def _usd(message: Any, field: str) -> Decimal | None:
    return from_money(getattr(message, field)) if message.HasField(field) else None


def _cost(cost: batches_pb2.BatchCost) -> dict[str, Any]:
    """In USD."""
    named = ("so_far", "expected", "at_most", "reserved", "max_cost")
    return {
        **{name: _usd(cost, name) for name in named},
        "unpriced_line_count": cost.unpriced_line_count,
    }


def model_objects(answer: providers_pb2.ListProvidersResponse) -> list[dict[str, Any]]:
    """The models of the providers that can be used, by id, as a line names them."""
    found = {
        f"{provider.name}/{model}": provider.name
        for provider in answer.providers
        if provider.configured
        for model in provider.models
    }
    return [
        {"id": model, "object": "model", "created": 0, "owned_by": owner}
        for model, owner in sorted(found.items())
    ]


def page(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A page of a list."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def _failed(counts: batches_pb2.RequestCounts) -> int:
    return counts.failed + counts.cancelled + counts.expired


def _errors(batch: batches_pb2.Batch) -> dict[str, Any] | None:
    if not batch.errors:
        return None
    return {
        "object": "list",
        "data": [
            {
                "code": each.code,
                "line": each.line or None,
                "message": each.message,
                "param": each.field or None,
            }
            for each in batch.errors
        ],
    }


def _one_model(batch: batches_pb2.Batch) -> str | None:
    """The model, where all lines have the same."""
    models = {f"{shard.provider}/{shard.model}" for shard in batch.shards}
    whole = batch.shard_count == len(batch.shards)
    return models.pop() if len(models) == 1 and whole else None


def _window(seconds: int) -> str:
    """As it is asked for: "24h", "90m", "7d"."""
    if seconds > _DAY and seconds % _DAY == 0:
        return f"{seconds // _DAY}d"
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"

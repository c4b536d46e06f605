"""OpenAI's batches: /v1/batches."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from time import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.batch import Batch, Phase, Refusal
from services.sandbox.config import Fault, Options
from services.sandbox.http import int_param, json_response
from services.sandbox.openai.check import BODIES, ENDPOINTS, Refused, check
from services.sandbox.openai.errors import OpenAIError, no_batch
from services.sandbox.openai.files import after, register_results
from services.sandbox.plan import Plan
from services.sandbox.sandbox import Sandbox
from services.sandbox.store import Workspace, new_id

_HOUR = 3600.0
_STATUS = {
    Phase.WAITING: "validating",
    Phase.RUNNING: "in_progress",
    Phase.FINALIZING: "finalizing",
    Phase.STOPPING: "cancelling",
    Phase.COMPLETED: "completed",
    Phase.EXPIRED: "expired",
    Phase.CANCELLED: "cancelled",
    Phase.FAILED: "failed",
}


class Batches:
    """The handlers of /v1/batches. Each gets the workspace of the request's key."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def create(self, request: Request, workspace: Workspace) -> Response:
        content = await request.body()
        # From here on nothing is waited for, so that no two creates take the last place.
        self._check_rate(workspace)
        try:
            wanted = msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            raise OpenAIError(400, "We could not parse the JSON body of your request.") from error
        if not isinstance(wanted, dict):
            raise OpenAIError(400, "The body of the request must be a JSON object.")
        batch = _new_batch(wanted, time())
        source = self._sandbox.file(workspace, batch.input_file_id)
        if source is not None and source.purpose != "batch":
            source = None
        if source is None and self._sandbox.options.create_checks_file:
            raise OpenAIError(
                400, f"No such File object: {batch.input_file_id}", param="input_file_id"
            )
        if source is None or source.path is None:
            message = f"The input file '{batch.input_file_id}' was not found or is not for batches."
            batch.refuse([Refusal("invalid_request", message, "file_id")], time())
            self._enlist(batch, workspace, None)
        else:
            self._enlist(batch, workspace, self._sandbox.store.link(source.path))
        return json_response(self._shape(batch))

    def _check_rate(self, workspace: Workspace) -> None:
        """Refuse a create that is one too many within an hour. It is not said when to come again:
        no document promises that."""
        most = self._sandbox.options.creates_per_hour
        begun = time() - _HOUR
        latest = takewhile(lambda b: b.created_at > begun, reversed(workspace.batches.values()))
        if most and sum(not batch.model for batch in latest) >= most:
            raise OpenAIError(
                429,
                f"Rate limit reached for batch creations: Limit {most} / hour.",
                kind="requests",
                code="rate_limit_exceeded",
            )

    def _enlist(self, batch: Batch, workspace: Workspace, lines: Path | None) -> None:
        """Take a new batch on, and begin to check its lines, which are dropped with it."""
        fault = self._sandbox.faults.for_batch("openai")
        workspace.batches[batch.id] = batch
        self._sandbox.bill.created(batch)
        if fault is not None:
            batch.refuse([_forced_refusal(fault)], time())
            if lines is not None:
                self._sandbox.store.drop(lines)
        elif lines is not None:
            self._sandbox.start(self._check(batch, lines, workspace))

    async def _check(self, batch: Batch, path: Path, workspace: Workspace) -> None:
        sandbox = self._sandbox
        every_error = sandbox.options.validation_errors == "all"
        async with sandbox.checking:
            try:
                plan = await check(
                    path,
                    sandbox.store.new_path("records"),
                    batch.endpoint,
                    every_error,
                    # A model that the create names itself is none of OpenAI's.
                    any_model=bool(batch.model),
                )
            except Refused as refused:
                sandbox.store.drop(path)
                batch.refuse(refused.refusals, time())
                return
        refusal = self._over_limit(plan, workspace)
        if refusal is not None:
            plan.remove()
            batch.refuse([refusal], time())
            return
        sandbox.faults.deal("openai", plan)
        batch.planned(plan, time())

    def _over_limit(self, plan: Plan, workspace: Workspace) -> Refusal | None:
        """Whether the tokens of a plan are too many beside those that are enqueued."""
        limit = self._sandbox.options.enqueued_token_limit
        if not limit:
            return None
        model = plan.models[0]
        enqueued = plan.input_tokens
        for other in workspace.batches.values():
            self._sandbox.look(other)
            if other.plan and not other.ended and other.plan.models[0] == model:
                enqueued += other.plan.input_tokens
        if enqueued <= limit:
            return None
        return Refusal(
            "token_limit_exceeded",
            f"Enqueued token limit reached for {model} in organization org-sandbox. Limit: "
            f"{limit:,} enqueued tokens. Please try again once some in_progress batches have "
            f"been completed.",
        )

    async def list(self, request: Request, workspace: Workspace) -> Response:
        try:
            limit = int_param(request, "limit", 20, 1, 100)
        except ValueError as error:
            raise OpenAIError(400, str(error), param="limit") from error
        batches = self._sandbox.newest_first(workspace)
        start = after(request.query_params.get("after"), [b.id for b in batches])
        page = batches[start : start + limit]
        return json_response(
            {
                "object": "list",
                "data": [self._show(batch, workspace) for batch in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": start + limit < len(batches),
            }
        )

    async def retrieve(self, request: Request, workspace: Workspace) -> Response:
        return json_response(self._show(self._find(request, workspace), workspace))

    async def cancel(self, request: Request, workspace: Workspace) -> Response:
        batch = self._find(request, workspace)
        if batch.phase in (Phase.COMPLETED, Phase.FAILED, Phase.EXPIRED):
            raise OpenAIError(409, f"Cannot cancel a batch with status '{_STATUS[batch.phase]}'.")
        if batch.phase not in (Phase.STOPPING, Phase.CANCELLED):
            batch.output_dropped = not self._sandbox.options.cancel_keeps_results
            batch.cancel(time(), self._sandbox.options)
            return json_response(self._shape(batch))
        return json_response(self._show(batch, workspace))

    def _find(self, request: Request, workspace: Workspace) -> Batch:
        batch_id = request.path_params["batch_id"]
        batch = self._sandbox.find(workspace, batch_id)
        if batch is None:
            raise no_batch(batch_id)
        return batch

    def _show(self, batch: Batch, workspace: Workspace) -> dict[str, Any]:
        register_results(self._sandbox.look(batch), workspace)
        return self._shape(batch)

    def _shape(self, batch: Batch) -> dict[str, Any]:
        """The batch object as it is now."""
        return shape(batch, self._sandbox.options)


def shape(batch: Batch, options: Options) -> dict[str, Any]:
    """The batch object as it is now."""
    times = batch.times

    def at(phase: Phase) -> int | None:
        return int(times[phase]) if phase in times else None

    errors = None
    if batch.phase is Phase.FAILED:
        errors = {"object": "list", "data": [msgspec.to_builtins(r) for r in batch.refusals]}
    counts = {"total": 0, "completed": 0, "failed": 0}
    if batch.plan and batch.started:
        succeeded = batch.plan.succeeded(batch.executed)
        counts = {
            "total": batch.total,
            "completed": 0
            if batch.ended and batch.output_dropped
            else succeeded + options.counts_skew,
            "failed": batch.executed - succeeded if not batch.ended else batch.total - succeeded,
        }
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.plan.models[0] if batch.plan else None,
        "errors": errors,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": _STATUS[batch.phase],
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "in_progress_at": at(Phase.RUNNING),
        "expires_at": int(batch.expires_at(options)),
        "finalizing_at": at(Phase.FINALIZING),
        "completed_at": at(Phase.COMPLETED),
        "failed_at": at(Phase.FAILED),
        "expired_at": at(Phase.EXPIRED),
        "cancelling_at": at(Phase.STOPPING),
        "cancelled_at": at(Phase.CANCELLED),
        "request_counts": counts,
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "metadata": batch.metadata,
    }


def _new_batch(wanted: dict[str, Any], now: float) -> Batch:
    """A batch as asked for. Raises OpenAIError for what the API refuses at once."""
    file_id = wanted.get("input_file_id")
    if not isinstance(file_id, str):
        raise OpenAIError(
            400,
            "Missing required parameter: 'input_file_id'.",
            param="input_file_id",
            code="missing_required_parameter",
        )
    endpoint = wanted.get("endpoint")
    if endpoint not in ENDPOINTS:
        raise OpenAIError(
            400,
            f"Invalid value: '{endpoint}'. Supported values are: "
            + ", ".join(f"'{e}'" for e in sorted(ENDPOINTS))
            + ".",
            param="endpoint",
            code="invalid_value",
        )
    if endpoint not in BODIES:
        raise OpenAIError(
            400,
            f"The sandbox has no answers for '{endpoint}', only for {', '.join(BODIES)}.",
            param="endpoint",
            code="invalid_value",
        )
    if wanted.get("completion_window") != "24h":
        raise OpenAIError(
            400,
            "Invalid value for 'completion_window'. Supported values are: '24h'.",
            param="completion_window",
            code="invalid_value",
        )
    batch = Batch(
        new_id("batch_"),
        "openai",
        now,
        endpoint=endpoint,
        input_file_id=file_id,
        metadata=metadata_of(wanted.get("metadata")),
    )
    if (expires := wanted.get("output_expires_after")) is not None:
        batch.output_seconds = _output_seconds(expires)
    return batch


def metadata_of(metadata: Any) -> dict[str, str] | None:
    """The metadata of a create. Raises OpenAIError for what the API refuses."""
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise OpenAIError(
            400,
            "Invalid type for 'metadata': expected an object.",
            param="metadata",
            code="invalid_type",
        )
    if len(metadata) > 16:
        raise OpenAIError(
            400,
            "Invalid 'metadata': at most 16 pairs are allowed.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise OpenAIError(
                400,
                f"Invalid type for 'metadata.{key}': expected a string.",
                param=f"metadata.{key}",
                code="invalid_type",
            )
        if len(key) > 64 or len(value) > 512:
            raise OpenAIError(
                400,
                f"Invalid 'metadata.{key}': a key has at most 64 characters, a value 512.",
                param=f"metadata.{key}",
                code="string_above_max_length",
            )
    return metadata


def _output_seconds(expires: Any) -> float:
    match expires:
        case {"anchor": "created_at", "seconds": int(seconds)} if 3600 <= seconds <= 2_592_000:
            return float(seconds)
    raise OpenAIError(
        400,
        "'output_expires_after' must be an anchor 'created_at' and seconds from 3600 to 2592000.",
        param="output_expires_after",
        code="invalid_value",
    )


def _forced_refusal(fault: Fault) -> Refusal:
    message = f"The sandbox was asked to let this batch fail with '{fault.code}'."
    return Refusal(fault.code, message, line=fault.line)

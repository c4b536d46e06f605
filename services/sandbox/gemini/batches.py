"""Gemini's batches: models' :batchGenerateContent and :asyncBatchEmbedContent, /v1beta/batches."""

from __future__ import annotations

import re
from time import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.batch import Batch, Phase, Refusal
from services.sandbox.gemini.check import BadFile, check
from services.sandbox.gemini.errors import CODES, GeminiError, no_batch
from services.sandbox.gemini.files import (
    FORMS,
    member,
    page_of,
    read_json,
    register_responses,
    timestamp,
)
from services.sandbox.http import json_response
from services.sandbox.plan import Plan
from services.sandbox.sandbox import Sandbox
from services.sandbox.store import File, Workspace, new_id

MAX_BATCHES = 100
"""Under way at a time."""
_MODELS = {
    "batchGenerateContent": (_CHATS := re.compile(r"gem(?:ini|ma)-(?!embedding).+")),
    "generateContent": _CHATS,
    "asyncBatchEmbedContent": re.compile(r"gemini-embedding-.+|text-embedding-.+"),
}
_STATES = {
    Phase.WAITING: "PENDING",
    Phase.RUNNING: "RUNNING",
    Phase.FINALIZING: "RUNNING",
    Phase.STOPPING: "RUNNING",
    Phase.COMPLETED: "SUCCEEDED",
    Phase.EXPIRED: "EXPIRED",
    Phase.CANCELLED: "CANCELLED",
    Phase.FAILED: "FAILED",
}
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main."
_TYPES = {
    "batchGenerateContent": "GenerateContentBatch",
    "asyncBatchEmbedContent": "EmbedContentBatch",
}


class Batches:
    """The handlers of batches. Each gets the workspace of the request's key."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def create(self, request: Request, workspace: Workspace, method: str) -> Response:
        model = request.path_params["model"]
        refuse_model(model, method)
        display_name, file_id = _wanted(await read_json(request))
        sandbox = self._sandbox
        source = sandbox.file(workspace, file_id)
        if source is None or source.path is None:
            raise GeminiError("NOT_FOUND", "Requested entity was not found.")
        running = [b for b in workspace.batches.values() if not sandbox.look(b).ended]
        if len(running) >= MAX_BATCHES:
            raise _exhausted(f"At most {MAX_BATCHES} batches may be under way.")
        batch = Batch(
            new_id("batches/"),
            "gemini",
            time(),
            endpoint=method,
            input_file_id=source.id,
            display_name=display_name,
            model=model,
        )
        fault = sandbox.faults.for_batch("gemini")
        plan = await self._plan(batch, source)
        if isinstance(plan, Plan):
            self._check_limit(plan, batch, running)
        if fault is not None:
            if isinstance(plan, Plan):
                plan.remove()
            name = fault.code.upper() if fault.code.upper() in CODES else "INTERNAL"
            message = f"The sandbox was asked to let this batch fail with '{name}'."
            plan = Refusal(name, message)
        if isinstance(plan, Refusal):
            batch.refuse([plan], time())
        else:
            sandbox.faults.deal("gemini", plan)
            batch.planned(plan, time())
        workspace.batches[batch.id] = batch
        sandbox.bill.created(batch)
        return json_response(self._shape(batch, workspace))

    async def _plan(self, batch: Batch, source: File) -> Plan | Refusal:
        store = self._sandbox.store
        assert source.path is not None
        path = store.link(source.path)
        async with self._sandbox.checking:
            try:
                form = FORMS[batch.endpoint]
                return await check(path, store.new_path("records"), form, batch.model)
            except BadFile as error:
                store.drop(path)
                return Refusal("INVALID_ARGUMENT", str(error))

    def _check_limit(self, plan: Plan, batch: Batch, running: list[Batch]) -> None:
        limit = self._sandbox.options.enqueued_token_limit
        enqueued = plan.input_tokens + sum(
            other.plan.input_tokens
            for other in running
            if other.plan and other.model == batch.model
        )
        if limit and enqueued > limit:
            plan.remove()
            raise _exhausted(
                f"Batch enqueued tokens for {batch.model} are limited to {limit} in this tier."
            )

    async def retrieve(self, request: Request, workspace: Workspace) -> Response:
        return json_response(self._shape(self._find(request, workspace), workspace))

    async def list(self, request: Request, workspace: Workspace) -> Response:
        batches = self._sandbox.newest_first(workspace)
        page, token = page_of(batches, request, default=50, most=100)
        shapes = [self._shape(self._sandbox.look(batch), workspace) for batch in page]
        answer: dict[str, Any] = {"operations": shapes} if shapes else {}
        if token:
            answer["nextPageToken"] = token
        return json_response(answer)

    async def cancel(self, request: Request, workspace: Workspace) -> Response:
        batch = self._find(request, workspace)
        if batch.ended:
            raise GeminiError(
                "FAILED_PRECONDITION", f"{batch.id} is {_STATES[batch.phase]}: it has ended."
            )
        if batch.phase is not Phase.STOPPING:
            batch.output_dropped = not self._sandbox.options.cancel_keeps_results
            batch.cancel(time(), self._sandbox.options)
        return json_response({})

    async def delete(self, request: Request, workspace: Workspace) -> Response:
        batch = self._find(request, workspace)
        if not batch.ended:
            raise GeminiError("FAILED_PRECONDITION", f"{batch.id} has not ended: cancel it first.")
        del workspace.batches[batch.id]
        if batch.output_file_id:
            # Its owner may have deleted it already.
            workspace.files.pop(batch.output_file_id, None)
        if batch.plan:
            batch.plan.remove()
        return json_response({})

    def _find(self, request: Request, workspace: Workspace) -> Batch:
        batch_id = request.path_params["batch_id"]
        batch = self._sandbox.find(workspace, f"batches/{batch_id}")
        if batch is None:
            raise no_batch(batch_id)
        return batch

    def _shape(self, batch: Batch, workspace: Workspace) -> dict[str, Any]:
        """The operation as it is now."""
        register_responses(batch, workspace)
        kind = _TYPES[batch.endpoint]
        metadata: dict[str, Any] = {
            "@type": _TYPE + kind,
            "model": f"models/{batch.model}",
            "displayName": batch.display_name,
            "inputConfig": {"fileName": batch.input_file_id},
            "createTime": timestamp(batch.created_at),
            "updateTime": timestamp(max((*batch.times.values(), batch.created_at))),
            "batchStats": self._stats(batch),
            "state": f"BATCH_STATE_{_STATES[batch.phase]}",
            "name": batch.id,
        }
        operation: dict[str, Any] = {"name": batch.id, "metadata": metadata}
        if not batch.ended:
            return operation
        metadata["endTime"] = timestamp(max(batch.times.values()))
        operation["done"] = True
        if batch.output_file_id:
            metadata["output"] = {"responsesFile": batch.output_file_id}
        if batch.phase is Phase.COMPLETED:
            operation["response"] = {"@type": f"{_TYPE}{kind}.Output", **metadata.get("output", {})}
        else:
            operation["error"] = _error(batch)
        return operation

    def _stats(self, batch: Batch) -> dict[str, str]:
        """64-bit numbers, which protobuf's JSON has as texts; those that are 0 are left out."""
        plan = batch.plan
        if plan is None:
            return {}
        succeeded = plan.succeeded(batch.executed)
        stats = {
            "requestCount": batch.total,
            "successfulRequestCount": succeeded + self._sandbox.options.counts_skew,
            "failedRequestCount": batch.executed - succeeded,
            "pendingRequestCount": 0 if batch.ended else batch.total - batch.executed,
        }
        return {name: str(count) for name, count in stats.items() if count}


def refuse_model(model: str, method: str) -> None:
    """Raise GeminiError where there is no such model for a method."""
    if not _MODELS[method].fullmatch(model):
        raise GeminiError(
            "NOT_FOUND",
            f"models/{model} is not found for API version v1beta, or is not supported "
            f"for {method}.",
        )


def _wanted(asked: dict[str, Any]) -> tuple[str, str]:
    """(display name, id of the input file) of a batch as asked for. Raises GeminiError."""
    batch = asked.get("batch")
    if not isinstance(batch, dict):
        raise GeminiError("INVALID_ARGUMENT", "batch: must be set.")
    config = member(batch, "inputConfig")
    file_id = member(config, "fileName") if isinstance(config, dict) else None
    if not isinstance(file_id, str):
        raise GeminiError("INVALID_ARGUMENT", "batch.input_config: the sandbox needs a file_name.")
    return str(member(batch, "displayName") or ""), file_id


def _exhausted(message: str) -> GeminiError:
    return GeminiError("RESOURCE_EXHAUSTED", f"Resource has been exhausted. {message}")


def _error(batch: Batch) -> dict[str, Any]:
    if batch.phase is Phase.FAILED:
        refusal = batch.refusals[0]
        return {"code": CODES[refusal.code], "message": refusal.message}
    if batch.phase is Phase.EXPIRED:
        return {"code": CODES["DEADLINE_EXCEEDED"], "message": "The batch has expired."}
    return {"code": CODES["CANCELLED"], "message": "The batch was cancelled."}

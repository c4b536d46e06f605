"""Anthropic's message batches: /v1/messages/batches."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from time import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.sandbox import results
from services.sandbox.anthropic.answers import Answerer
from services.sandbox.anthropic.create import Refused, receive
from services.sandbox.anthropic.errors import AnthropicError, no_batch
from services.sandbox.anthropic.lines import FIRST_VERSION, NO_SAMPLING_VERSION
from services.sandbox.batch import Batch, Phase
from services.sandbox.http import int_param, json_response, stream_response, when_told
from services.sandbox.sandbox import Sandbox
from services.sandbox.store import Workspace, new_id

VERSIONS = frozenset({FIRST_VERSION, NO_SAMPLING_VERSION})


class MessageBatches:
    """The handlers of /v1/messages/batches. Each gets the workspace of the request's key."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def create(self, request: Request, workspace: Workspace) -> Response:
        version = request.headers["anthropic-version"]
        store = self._sandbox.store
        path = store.new_path("batches")
        try:
            plan = await receive(request.stream(), path, store.new_path("records"), version)
        except Refused as refused:
            raise AnthropicError(refused.status, refused.kind, refused.message) from refused
        now = time()
        batch = Batch(
            new_id("msgbatch_01"),
            "anthropic",
            now,
            version=version,
        )
        self._sandbox.faults.deal("anthropic", plan)
        batch.start(plan)
        workspace.batches[batch.id] = batch
        self._sandbox.bill.created(batch)
        return json_response(self._shape(batch, request))

    async def retrieve(self, request: Request, workspace: Workspace) -> Response:
        return json_response(self._shape(self._find(request, workspace), request))

    async def list(self, request: Request, workspace: Workspace) -> Response:
        try:
            limit = int_param(request, "limit", 20, 1, 1000)
        except ValueError as error:
            raise AnthropicError(400, "invalid_request_error", str(error)) from error
        batches = self._sandbox.newest_first(workspace)
        before, after = (request.query_params.get(name) for name in ("before_id", "after_id"))
        if before and after:
            raise AnthropicError(
                400, "invalid_request_error", "Only one of before_id and after_id can be given."
            )
        ids = [batch.id for batch in batches]
        if before:
            end = _position(before, ids)
            start = max(0, end - limit)
            more = start > 0
        else:
            start = _position(after, ids) + 1 if after else 0
            end = start + limit
            more = end < len(ids)
        page = batches[start:end]
        return json_response(
            {
                "data": [self._shape(self._sandbox.look(batch), request) for batch in page],
                "has_more": more,
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
            }
        )

    async def results(self, request: Request, workspace: Workspace) -> Response:
        batch = self._find(request, workspace)
        if not batch.ended:
            raise AnthropicError(
                404, "not_found_error", f"Results of batch {batch.id} are not available yet."
            )
        options = self._sandbox.options
        pieces = results.pieces(
            batch,
            Answerer(batch.id, batch.version),
            answered=True,
            failed=True,
            shuffle=options.shuffle,
            unknown=options.unknown_result_lines,
        )
        fetched = self._sandbox.bill.traffic("anthropic").fetched
        when_told(request, partial(fetched, batch.id))
        return stream_response(pieces, "application/x-jsonl")

    async def cancel(self, request: Request, workspace: Workspace) -> Response:
        batch = self._find(request, workspace)
        if batch.ended:
            raise AnthropicError(
                400,
                "invalid_request_error",
                f"Batch {batch.id} cannot be canceled because it has already ended.",
            )
        if batch.phase is not Phase.STOPPING:
            batch.cancel(time(), self._sandbox.options)
        return json_response(self._shape(batch, request))

    async def delete(self, request: Request, workspace: Workspace) -> Response:
        batch = self._find(request, workspace)
        if not batch.ended:
            raise AnthropicError(
                400,
                "invalid_request_error",
                f"Batch {batch.id} cannot be deleted while it is being processed.",
            )
        del workspace.batches[batch.id]
        if batch.plan:
            batch.plan.remove()
        return json_response({"id": batch.id, "type": "message_batch_deleted"})

    def _find(self, request: Request, workspace: Workspace) -> Batch:
        batch_id = request.path_params["batch_id"]
        batch = self._sandbox.find(workspace, batch_id)
        if batch is None:
            raise no_batch(batch_id)
        return batch

    def _shape(self, batch: Batch, request: Request) -> dict[str, Any]:
        """The batch object as it is now."""
        counts = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        if batch.ended and batch.plan:
            succeeded = batch.plan.succeeded(batch.executed)
            counts["succeeded"] = succeeded + self._sandbox.options.counts_skew
            counts["errored"] = batch.executed - succeeded
            rest = "expired" if batch.phase is Phase.EXPIRED else "canceled"
            counts[rest] = batch.total - batch.executed
        else:
            counts["processing"] = batch.total
        ended_at = max(batch.times.values()) if batch.ended else None
        results_url = f"{request.base_url}v1/messages/batches/{batch.id}/results"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended"
            if batch.ended
            else "canceling"
            if batch.phase is Phase.STOPPING
            else "in_progress",
            "request_counts": counts,
            "ended_at": _rfc3339(ended_at),
            "created_at": _rfc3339(batch.created_at),
            "expires_at": _rfc3339(batch.expires_at(self._sandbox.options)),
            "archived_at": None,
            "cancel_initiated_at": _rfc3339(batch.times.get(Phase.STOPPING)),
            "results_url": results_url if batch.ended else None,
        }


def _position(batch_id: str, ids: list[str]) -> int:
    try:
        return ids.index(batch_id)
    except ValueError:
        raise no_batch(batch_id) from None


def _rfc3339(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()

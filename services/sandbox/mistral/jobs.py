"""Mistral's batch jobs: /v1/batch/jobs, over files as OpenAI has them.

A job is run as an OpenAI batch of the same lines, each given the model and the endpoint of
the job. It is on OpenAI's bill, and errors come in OpenAI's envelope.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.batch import Batch, Phase
from services.sandbox.http import int_param, json_response
from services.sandbox.openai.batches import Batches, metadata_of
from services.sandbox.openai.errors import OpenAIError
from services.sandbox.plan import UNREADABLE
from services.sandbox.store import File, Workspace, read_blocks, split_lines

_STATUS = {
    Phase.WAITING: "QUEUED",
    Phase.RUNNING: "RUNNING",
    Phase.FINALIZING: "RUNNING",
    Phase.STOPPING: "CANCELLATION_REQUESTED",
    Phase.COMPLETED: "SUCCESS",
    Phase.EXPIRED: "TIMEOUT_EXCEEDED",
    Phase.CANCELLED: "CANCELLED",
    Phase.FAILED: "FAILED",
}
_ENDPOINTS = frozenset({"/v1/chat/completions", "/v1/embeddings"})
_PAGE = 100
_MOST = 1000


class _Line(msgspec.Struct):
    custom_id: str
    body: dict[str, msgspec.Raw]


class _Creation(msgspec.Struct, forbid_unknown_fields=True):
    input_files: list[str]
    endpoint: str
    model: str
    metadata: Any = None
    timeout_hours: int = 24


_line = msgspec.json.Decoder(_Line)
_encoder = msgspec.json.Encoder()


class MistralJobs(Batches):
    """The handlers of /v1/batch/jobs. Each gets the workspace of the request's key."""

    async def create(self, request: Request, workspace: Workspace) -> Response:
        try:
            wanted = msgspec.json.decode(await request.body(), type=_Creation)
        except msgspec.DecodeError as error:
            raise OpenAIError(422, str(error)) from error
        files = [self._sandbox.file(workspace, file_id) for file_id in wanted.input_files]
        if len(files) != 1 or files[0] is None or files[0].path is None:
            raise OpenAIError(404, f"No file matches {wanted.input_files}.")
        if wanted.endpoint not in _ENDPOINTS or not wanted.model:
            raise OpenAIError(422, "The sandbox has no answers for this endpoint and model.")
        batch = Batch(
            str(uuid4()),
            "openai",
            time(),
            endpoint=wanted.endpoint,
            input_file_id=files[0].id,
            metadata=metadata_of(wanted.metadata),
            model=wanted.model,
        )
        self._enlist(batch, workspace, self._lines_of(files[0], wanted))
        return json_response(self._show(batch, workspace))

    async def list(self, request: Request, workspace: Workspace) -> Response:
        try:
            page = int_param(request, "page", 0, 0, _MOST)
            size = int_param(request, "page_size", _PAGE, 1, _MOST)
        except ValueError as error:
            raise OpenAIError(422, str(error)) from error
        jobs = [batch for batch in self._sandbox.newest_first(workspace) if batch.model]
        shown = jobs[page * size : (page + 1) * size]
        return json_response(
            {
                "object": "list",
                "data": [self._show(batch, workspace) for batch in shown],
                "total": len(jobs),
            }
        )

    def _lines_of(self, file: File, wanted: _Creation) -> Path:
        """The lines of an input file in OpenAI's form; wrong ones stay as they are."""
        assert file.path is not None
        path = self._sandbox.store.new_path("batches")
        with path.open("wb") as copy:
            for _, block in read_blocks(file.path):
                copy.writelines(_translated(block, wanted))
        return path

    def _shape(self, batch: Batch) -> dict[str, Any]:
        """The job as it is now."""
        succeeded = batch.plan.succeeded(batch.executed) if batch.plan and batch.started else 0
        failed = batch.executed - succeeded if batch.started else 0
        ended_at = max(batch.times.values()) if batch.ended else None
        return {
            "id": batch.id,
            "object": "batch",
            "input_files": [batch.input_file_id],
            "metadata": batch.metadata,
            "endpoint": batch.endpoint,
            "model": batch.model,
            "agent_id": None,
            "output_file": batch.output_file_id,
            "error_file": batch.error_file_id,
            "errors": [{"message": refusal.message, "count": 1} for refusal in batch.refusals],
            "status": _STATUS[batch.phase],
            "created_at": int(batch.created_at),
            "total_requests": batch.total,
            "completed_requests": batch.executed,
            "succeeded_requests": succeeded + self._sandbox.options.counts_skew,
            "failed_requests": failed,
            "started_at": int(batch.times[Phase.RUNNING]) if batch.started else None,
            "completed_at": None if ended_at is None else int(ended_at),
        }


def _translated(block: bytes, wanted: _Creation) -> Iterator[bytes]:
    for raw in split_lines(block):
        try:
            line = _line.decode(raw)
        except UNREADABLE:
            yield raw + b"\n"
            continue
        line.body["model"] = msgspec.Raw(_encoder.encode(wanted.model))
        yield b'{"custom_id":%b,"method":"POST","url":"%b","body":%b}\n' % (
            _encoder.encode(line.custom_id),
            wanted.endpoint.encode(),
            _encoder.encode(line.body),
        )

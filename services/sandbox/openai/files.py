"""OpenAI's files: /v1/files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox import results
from services.sandbox.batch import Batch
from services.sandbox.http import int_param, json_response, stream_response, when_told
from services.sandbox.openai.answers import Answerer
from services.sandbox.openai.check import BODIES
from services.sandbox.openai.errors import OpenAIError
from services.sandbox.plan import UNREADABLE
from services.sandbox.sandbox import Sandbox
from services.sandbox.store import BLOCK_BYTES, File, Workspace, new_id
from services.sandbox.upload import BadUpload, Upload

MAX_BATCH_BYTES = 200_000_000
MAX_FILE_BYTES = 512_000_000
"""OpenAI's of other purposes, and Mistral's of batches. "MB": the smaller readings, so that whoever
goes by the larger one sees it here. [docs.mistral.ai, known limitations]"""
BATCH_FILE_SECONDS = 30 * 86400.0
_PURPOSES = frozenset({"assistants", "batch", "fine-tune", "vision", "user_data", "evals"})


class Files:
    """The handlers of /v1/files. Each gets the workspace of the request's key."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def upload(self, request: Request, workspace: Workspace) -> Response:
        path = self._sandbox.store.new_path("files")
        upload = Upload(path, MAX_FILE_BYTES)
        try:
            await upload.read(request.headers.get("content-type", ""), request.stream())
            file = self._accept(upload, path)
        except BadUpload as error:
            path.unlink(missing_ok=True)
            raise OpenAIError(400, str(error)) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        workspace.files[file.id] = file
        self._sandbox.bill.traffic("openai").uploads += 1
        return json_response(await self._shape(file))

    def _accept(self, upload: Upload, path: Path) -> File:
        purpose = upload.fields.get("purpose")
        if upload.filename is None:
            raise OpenAIError(400, "'file' is a required property", param="file")
        if purpose is None:
            raise OpenAIError(400, "'purpose' is a required property", param="purpose")
        if purpose not in _PURPOSES:
            raise OpenAIError(400, f"'{purpose}' is not one of the purposes.", param="purpose")
        openais = purpose == "batch" and not _is_mistrals(path)
        if upload.size > (MAX_BATCH_BYTES if openais else MAX_FILE_BYTES):
            raise OpenAIError(400, f"File is too large: {upload.size} bytes.", param="file")
        if purpose == "batch":
            if not upload.filename.endswith(".jsonl"):
                raise OpenAIError(
                    400,
                    f"Invalid file format for Batch API: '{upload.filename}'. Must be .jsonl",
                    param="file",
                )
            if self._sandbox.options.upload_checks:
                _check_first_line(path)
        now = time()
        return File(
            new_id("file-"),
            upload.filename,
            purpose,
            now,
            _expiry(upload.fields, now, purpose),
            path,
            upload.size,
        )

    async def list(self, request: Request, workspace: Workspace) -> Response:
        query = request.query_params
        try:
            limit = int_param(request, "limit", 10_000, 1, 10_000)
        except ValueError as error:
            raise OpenAIError(400, str(error), param="limit") from error
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise OpenAIError(400, "'order' must be 'asc' or 'desc'.", param="order")
        for batch in workspace.batches.values():
            register_results(self._sandbox.look(batch), workspace)
        files = [
            file
            for file in workspace.files.values()
            if query.get("purpose") in (None, file.purpose) and not self._sandbox.gone(file)
        ]
        if order == "desc":
            files.reverse()
        start = after(query.get("after"), [f.id for f in files])
        if "page" in query:
            # Mistral's way: pages by number.
            limit = int(query.get("page_size", "100"))
            start = int(query["page"]) * limit
        page = files[start : start + limit]
        return json_response(
            {
                "object": "list",
                "data": [await self._shape(f) for f in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": start + limit < len(files),
            }
        )

    async def retrieve(self, request: Request, workspace: Workspace) -> Response:
        return json_response(await self._shape(self._find(request, workspace)))

    async def content(self, request: Request, workspace: Workspace) -> Response:
        file = self._find(request, workspace)
        if file.batch is not None and not file.errors:
            fetched = self._sandbox.bill.traffic("openai").fetched
            when_told(request, partial(fetched, file.batch.id))
        return stream_response(self._pieces(file), "application/octet-stream")

    async def delete(self, request: Request, workspace: Workspace) -> Response:
        traffic = self._sandbox.bill.traffic("openai")
        try:
            file = self._find(request, workspace)
        except OpenAIError:
            traffic.deletion_of_nothing(request.path_params["file_id"])
            raise
        del workspace.files[file.id]
        if file.path:
            file.path.unlink()
        traffic.file_deleted(file.id, uploaded=file.path is not None)
        when_told(request, partial(traffic.deletion_told, file.id))
        return json_response({"id": file.id, "object": "file", "deleted": True})

    def _find(self, request: Request, workspace: Workspace) -> File:
        file_id = request.path_params["file_id"]
        file = self._sandbox.file(workspace, file_id)
        if file is None:
            raise OpenAIError(404, f"No such File object: {file_id}", param="id")
        return file

    async def _shape(self, file: File) -> dict[str, Any]:
        if file.size is None:
            size = 0
            for piece in self._pieces(file):
                size += len(piece)
                await asyncio.sleep(0)
            file.size = size
        return {
            "id": file.id,
            "object": "file",
            "bytes": file.size,
            "created_at": int(file.created_at),
            "expires_at": None if file.expires_at is None else int(file.expires_at),
            "filename": file.filename,
            "purpose": file.purpose,
            "status": "processed",
            "status_details": None,
        }

    def _pieces(self, file: File) -> Iterator[bytes]:
        if file.path:
            return _stored_pieces(file.path)
        batch = file.batch
        assert batch is not None
        options = self._sandbox.options
        return results.pieces(
            batch,
            Answerer(BODIES[batch.endpoint], batch.id, int(batch.created_at)),
            answered=not file.errors,
            failed=file.errors,
            shuffle=options.shuffle,
            unknown=0 if file.errors else options.unknown_result_lines,
        )


def register_results(batch: Batch, workspace: Workspace) -> None:
    """Give an ended batch its output and error files, as far as it has any."""
    if not batch.ended or not batch.started or batch.plan is None or batch.filed:
        return
    batch.filed = True
    failed = batch.total - batch.plan.succeeded(batch.executed)
    now = max(batch.times.values())
    for count, errors in ((batch.answers_kept, False), (failed, True)):
        if not count:
            continue
        file = File(
            new_id("file-"),
            f"{batch.id}_{'error' if errors else 'output'}.jsonl",
            "batch_output",
            now,
            now + batch.output_seconds,
            batch=batch,
            errors=errors,
        )
        workspace.files[file.id] = file
        if errors:
            batch.error_file_id = file.id
        else:
            batch.output_file_id = file.id


def after(cursor: str | None, ids: list[str]) -> int:
    """Where the page after `cursor` begins."""
    if cursor is None:
        return 0
    try:
        return ids.index(cursor) + 1
    except ValueError:
        raise OpenAIError(400, f"No such object: {cursor}", param="after") from None


def _expiry(fields: dict[str, str], now: float, purpose: str) -> float | None:
    seconds = fields.get("expires_after[seconds]")
    if seconds is None:
        return now + BATCH_FILE_SECONDS if purpose == "batch" else None
    if fields.get("expires_after[anchor]") != "created_at":
        raise OpenAIError(
            400, "'expires_after.anchor' must be 'created_at'.", param="expires_after.anchor"
        )
    if not seconds.isdigit() or not 3600 <= int(seconds) <= 2_592_000:
        raise OpenAIError(
            400,
            "'expires_after.seconds' must be from 3600 to 2592000.",
            param="expires_after.seconds",
        )
    return now + int(seconds)


def _is_mistrals(path: Path) -> bool:
    """Whether a file's first line has a body and no url, which stands on the jobs of Mistral."""
    try:
        line = msgspec.json.decode(_first_line(path))
    except UNREADABLE:
        return False
    return isinstance(line, dict) and "body" in line and "url" not in line


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline(MAX_BATCH_BYTES)


def _check_first_line(path: Path) -> None:
    first = _first_line(path)
    if not first:
        raise OpenAIError(400, "The file is empty.", param="file")
    try:
        msgspec.json.decode(first)
    except msgspec.DecodeError as error:
        raise OpenAIError(400, "The first line is not valid JSON.", param="file") from error


def _stored_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(BLOCK_BYTES):
            yield piece

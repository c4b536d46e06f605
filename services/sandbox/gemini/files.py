"""Gemini's files: /upload/v1beta/files (the resumable protocol), /v1beta/files and downloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox import results
from services.sandbox.batch import Batch, Phase
from services.sandbox.gemini.answers import Answerer
from services.sandbox.gemini.errors import GeminiError
from services.sandbox.gemini.lines import Embed, Generate
from services.sandbox.http import int_param, json_response, stream_response, when_told
from services.sandbox.sandbox import Sandbox
from services.sandbox.store import File, Workspace, new_id

FORMS: Mapping[str, type[Generate | Embed]] = {
    "batchGenerateContent": Generate,
    "asyncBatchEmbedContent": Embed,
}
"""The methods that make a batch, and what its lines are then."""
FILE_SECONDS = 48 * 3600.0
MAX_FILE_BYTES = 2 * 1024**3
_GENERATED = "files/batch-"


@dataclass(slots=True)
class _Session:
    """An upload that has been announced."""

    workspace: Workspace
    path: Path
    display_name: str
    media_type: str
    received: int = 0


class Files:
    """The handlers of files. Each gets the workspace of the request's key."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._sessions: dict[str, _Session] = {}

    async def start(self, request: Request, workspace: Workspace) -> Response:
        """Announce an upload; its address is in a header of the answer."""
        headers = request.headers
        if (
            headers.get("x-goog-upload-protocol") != "resumable"
            or headers.get("x-goog-upload-command") != "start"
        ):
            raise GeminiError(
                "INVALID_ARGUMENT", "The sandbox only knows resumable uploads: start one."
            )
        size = headers.get("x-goog-upload-header-content-length", "0")
        if not size.isdigit() or int(size) > MAX_FILE_BYTES:
            raise GeminiError("INVALID_ARGUMENT", f"The file must have at most {MAX_FILE_BYTES}.")
        about = await read_json(request)
        wanted = about.get("file")
        wanted = wanted if isinstance(wanted, dict) else {}
        media_type = headers.get("x-goog-upload-header-content-type", "")
        path = self._sandbox.store.new_path("files")
        path.touch()
        session_id = new_id("")
        self._sessions[session_id] = _Session(
            workspace,
            path,
            str(member(wanted, "displayName") or ""),
            str(member(wanted, "mimeType") or media_type or "application/octet-stream"),
        )
        url = f"{request.base_url}upload/v1beta/files?upload_id={session_id}"
        answer = Response(status_code=200)
        answer.headers.update(
            {"x-goog-upload-url": f"{url}&upload_protocol=resumable"}
            | {"x-goog-upload-status": "active"}
        )
        return answer

    async def proceed(self, request: Request) -> Response:
        """Take in a piece of an announced upload; the address is the permission."""
        session_id = request.query_params["upload_id"]
        session = self._sessions.get(session_id)
        if session is None or not session.path.exists():
            raise GeminiError("NOT_FOUND", "Upload not found.")
        commands = {
            each.strip() for each in request.headers.get("x-goog-upload-command", "").split(",")
        }
        if commands == {"query"}:
            return _upload_answer(session.received)
        if not commands or not commands <= {"upload", "finalize"}:
            raise GeminiError("INVALID_ARGUMENT", "Unknown X-Goog-Upload-Command.")
        if "upload" in commands:
            offset = request.headers.get("x-goog-upload-offset", "")
            if offset != str(session.received):
                raise GeminiError(
                    "INVALID_ARGUMENT", f"Offset {offset} instead of {session.received}."
                )
            with session.path.open("ab", buffering=0) as file:
                async for chunk in request.stream():
                    session.received += file.write(chunk)
        if "finalize" not in commands:
            return _upload_answer(session.received)
        del self._sessions[session_id]
        now = time()
        file_id = new_id("files/")
        made = File(
            file_id,
            session.display_name,
            session.media_type,
            now,
            now + FILE_SECONDS,
            session.path,
            session.received,
        )
        session.workspace.files[file_id] = made
        self._sandbox.bill.traffic("gemini").uploads += 1
        answer = json_response({"file": _shape(made, request)})
        answer.headers["x-goog-upload-status"] = "final"
        return answer

    async def retrieve(self, request: Request, workspace: Workspace) -> Response:
        return json_response(_shape(self._find(request, workspace), request))

    async def list(self, request: Request, workspace: Workspace) -> Response:
        found = [file for file in workspace.files.values() if not self._sandbox.gone(file)]
        page, token = page_of(found[::-1], request, default=10, most=100)
        answer: dict[str, Any] = {"files": [_shape(file, request) for file in page]}
        if token:
            answer["nextPageToken"] = token
        return json_response(answer)

    async def delete(self, request: Request, workspace: Workspace) -> Response:
        traffic = self._sandbox.bill.traffic("gemini")
        try:
            file = self._find(request, workspace)
        except GeminiError:
            traffic.deletion_of_nothing(f"files/{request.path_params['file_id']}")
            raise
        del workspace.files[file.id]
        if file.path:
            file.path.unlink()
        traffic.file_deleted(file.id, uploaded=file.path is not None)
        when_told(request, partial(traffic.deletion_told, file.id))
        return json_response({})

    async def download(self, request: Request, workspace: Workspace) -> Response:
        file = self._find(request, workspace)
        if file.batch is None or request.query_params.get("alt") != "media":
            raise GeminiError("INVALID_ARGUMENT", "Only generated files can be downloaded.")
        fetched = self._sandbox.bill.traffic("gemini").fetched
        when_told(request, partial(fetched, file.batch.id))
        return stream_response(self._pieces(file.batch), "application/octet-stream")

    def _find(self, request: Request, workspace: Workspace) -> File:
        file_id = f"files/{request.path_params['file_id']}"
        file = self._sandbox.file(workspace, file_id)
        if file is None:
            # Nobody is told which files of others there are.
            raise GeminiError(
                "PERMISSION_DENIED",
                f"You do not have permission to access the File {file_id.partition('/')[2]} or it "
                "may not exist.",
            )
        return file

    def _pieces(self, batch: Batch) -> Iterator[bytes]:
        options = self._sandbox.options
        return results.pieces(
            batch,
            Answerer(FORMS[batch.endpoint], batch.id, batch.model),
            answered=True,
            failed=True,
            shuffle=options.shuffle,
            unknown=options.unknown_result_lines,
        )


def register_responses(batch: Batch, workspace: Workspace) -> None:
    """Give an ended batch its file of responses, if it has any."""
    if not batch.ended or batch.filed or batch.plan is None or not batch.executed:
        return
    batch.filed = True
    # "will not have any results"
    if batch.phase is Phase.EXPIRED or batch.output_dropped:
        return
    now = max(batch.times.values())
    batch.output_file_id = _GENERATED + batch.id.partition("/")[2]
    workspace.files[batch.output_file_id] = File(
        batch.output_file_id, "", "application/jsonl", now, now + FILE_SECONDS, batch=batch
    )


def page_of(
    found: list[Any], request: Request, *, default: int, most: int
) -> tuple[list[Any], str | None]:
    """A page of a list and the token of the next; pageSize and pageToken are the request's."""
    try:
        size = int_param(request, "pageSize", default, 1, 10**9)
        start = int_param(request, "pageToken", 0, 0, 10**9)
    except ValueError as error:
        raise GeminiError("INVALID_ARGUMENT", str(error)) from error
    end = start + min(size, most)
    return found[start:end], str(end) if end < len(found) else None


def timestamp(at: float) -> str:
    """A time as protobuf's JSON has it."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


async def read_json(request: Request) -> dict[str, Any]:
    """The object in a request's body. Raises GeminiError."""
    try:
        found = msgspec.json.decode(await request.body() or b"{}")
    except msgspec.DecodeError as error:
        raise GeminiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
    if not isinstance(found, dict):
        raise GeminiError("INVALID_ARGUMENT", "Invalid JSON payload received.")
    return found


def member(message: dict[str, Any], name: str) -> Any:
    """A member of a protobuf message; both spellings are taken, and SDKs use both."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return message.get(name, message.get(snake))


def _shape(file: File, request: Request) -> dict[str, Any]:
    shape = {
        "name": file.id,
        "mimeType": file.purpose,
        "createTime": timestamp(file.created_at),
        "updateTime": timestamp(file.created_at),
        "expirationTime": timestamp(file.expires_at or file.created_at),
        "uri": f"{request.base_url}v1beta/{file.id}",
        "state": "ACTIVE",
        "source": "GENERATED" if file.batch else "UPLOADED",
    }
    if file.filename:
        shape["displayName"] = file.filename
    if file.size is not None:
        shape["sizeBytes"] = str(file.size)
    if file.batch:
        shape["downloadUri"] = f"{request.base_url}v1beta/{file.id}:download?alt=media"
    return shape


def _upload_answer(received: int) -> Response:
    """Of an upload that goes on."""
    answer = Response(status_code=200)
    answer.headers["x-goog-upload-status"] = "active"
    answer.headers["x-goog-upload-size-received"] = str(received)
    return answer

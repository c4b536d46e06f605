"""Uploads in parts of OpenAI's API (docs/adr/0035).

In: what a file will be, its parts in any order, at last the order. Out: Upload objects. What can go
wrong: bad fields (400), an upload or a part that is not there (404), one that has ended (409).
All that an Upload says lies in its id; which uploads and parts there are, the gateway knows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import time
from typing import Annotated, Any

import msgspec
from polybatch.errors import PolybatchError
from polybatch.v1 import files_pb2
from starlette.requests import Request
from starlette.responses import Response

from services.web.body import body_of, read_json
from services.web.client_parts import methods
from services.web.errors import HttpError
from services.web.multipart import Form
from services.web.openai.batches import ExpiresAfter
from services.web.openai.files import check_filename, check_purpose
from services.web.openai.objects import PURPOSE_INPUT, file_object, with_problems
from services.web.operations import described
from services.web.responses import json_response
from services.web.sending import FileUpload
from services.web.upstream import Engine

MAX_PART_BYTES = 64 * 1024 * 1024

_UPLOAD = re.compile(r"upload_([A-Za-z0-9_-]{22,700})", re.ASCII)
_PART = re.compile(r"part_([A-Za-z0-9_-]{22})", re.ASCII)
_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


class CreateUpload(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a create."""

    bytes: Annotated[int, described(minimum=1)]
    filename: str
    mime_type: str
    purpose: Annotated[str, described(enum=[PURPOSE_INPUT])]
    expires_after: ExpiresAfter | None = None


class CompleteUpload(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a complete."""

    part_ids: list[str]
    md5: Annotated[str, described(pattern=f"^{_MD5.pattern}$")] | None = None


class _Facts(msgspec.Struct, array_like=True):
    """What an id holds. `token` makes it a different one each time."""

    token: str
    bytes: int
    created_at: int
    filename: str
    expires_seconds: int = 0
    """How long the file is kept; 0: for ever."""


class _Upload:
    def __init__(self, shown: str, facts: _Facts) -> None:
        self.shown = shown
        self.facts = facts
        # Of the whole: an id that somebody has changed is another one.
        self.upload_id = hashlib.sha256(shown.encode()).hexdigest()[:48]

    @classmethod
    def made(cls, asked: CreateUpload) -> _Upload:
        kept = asked.expires_after.seconds if asked.expires_after is not None else 0
        facts = _Facts(
            secrets.token_urlsafe(12), asked.bytes, int(time.time()), asked.filename, kept
        )
        packed = base64.urlsafe_b64encode(msgspec.msgpack.encode(facts)).decode().rstrip("=")
        return cls(f"upload_{packed}", facts)

    @classmethod
    def parse(cls, shown: str) -> _Upload:
        match = _UPLOAD.fullmatch(shown)
        try:
            raw = base64.urlsafe_b64decode(match[1] + "==") if match else b""
            return cls(shown, msgspec.msgpack.decode(raw, type=_Facts))
        except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError):
            raise _no_upload(shown) from None

    def object(self, request: Request, status: str, file: Any = None) -> dict[str, Any]:
        facts = self.facts
        return {
            "id": self.shown,
            "object": "upload",
            "bytes": facts.bytes,
            "created_at": facts.created_at,
            "expires_at": facts.created_at + int(body_of(request).settings.upload_retention),
            "filename": facts.filename,
            "purpose": PURPOSE_INPUT,
            "status": status,
            "file": file,
        }


async def create(request: Request, engine: Engine) -> Response:
    """POST /v1/uploads."""
    asked = await read_json(request, CreateUpload)
    check_purpose(asked.purpose)
    check_filename(asked.filename, "filename")
    if asked.expires_after is not None:
        asked.expires_after.check("expires_after")
    most = body_of(request).settings.max_file_bytes
    if not 1 <= asked.bytes <= most:
        raise HttpError(400, f"'bytes' has to be from 1 to {most}.", "invalid_value", "bytes")
    upload = _Upload.made(asked)
    await engine.call(
        methods.BEGIN_UPLOAD, files_pb2.BeginUploadRequest(upload_id=upload.upload_id)
    )
    return json_response(upload.object(request, "pending"))


async def add_part(request: Request, engine: Engine) -> Response:
    """POST /v1/uploads/{upload_id}/parts."""
    upload = _Upload.parse(request.path_params["upload_id"])
    form = Form(request.headers.get("content-type", ""), "data")
    part = secrets.token_urlsafe(16)
    size = 0
    spec = files_pb2.UploadSpec(upload_id=part, part_of=upload.upload_id)
    async with FileUpload(engine, spec) as stream:
        wanted = True
        async for piece in body_of(request).pieces():
            for data in form.feed(piece):
                size += len(data)
                if size > MAX_PART_BYTES:
                    raise HttpError(
                        413, f"A part may have {MAX_PART_BYTES} bytes.", "part_too_large", "data"
                    )
                wanted = await stream.write(data)
            if not wanted:
                break
        if wanted:
            form.finish()
        try:
            await stream.finish()
        except PolybatchError as error:
            raise _translated(error, upload) from error
    return json_response(
        {
            "id": f"part_{part}",
            "object": "upload.part",
            "created_at": int(time.time()),
            "upload_id": upload.shown,
        }
    )


async def complete(request: Request, engine: Engine) -> Response:
    """POST /v1/uploads/{upload_id}/complete. Doing it again gives the same file."""
    upload = _Upload.parse(request.path_params["upload_id"])
    asked = await read_json(request, CompleteUpload)
    if asked.md5 is not None and not _MD5.fullmatch(asked.md5):
        raise HttpError(400, "'md5' has to be 32 hexadecimal digits.", "invalid_value", "md5")
    parts = [_PART.fullmatch(each) for each in asked.part_ids]
    wrong = [each for each, part in zip(asked.part_ids, parts, strict=True) if part is None]
    if wrong or not parts or len(set(asked.part_ids)) < len(parts):
        named = f": {wrong[0][:100]!r} is none" if wrong else ""
        raise HttpError(
            400, f"'part_ids' has to name parts, each once{named}.", "invalid_value", "part_ids"
        )
    spec = files_pb2.UploadSpec(
        filename=upload.facts.filename,
        upload_id=upload.upload_id,
        discard_unfinished=True,
        expected_bytes=upload.facts.bytes,
        expected_md5=asked.md5 or "",
    )
    if upload.facts.expires_seconds:
        spec.expires_after.seconds = upload.facts.expires_seconds
    async with FileUpload(engine, spec) as stream:
        for part in parts:
            assert part is not None
            if not await stream.append(part[1]):
                break
        try:
            answer = await stream.finish()
        except PolybatchError as error:
            raise _translated(error, upload) from error
    shown = with_problems(file_object(answer.file), answer.problems)
    return json_response(upload.object(request, "completed", shown))


async def cancel(request: Request, engine: Engine) -> Response:
    """POST /v1/uploads/{upload_id}/cancel."""
    upload = _Upload.parse(request.path_params["upload_id"])
    try:
        await engine.call(
            methods.DELETE_UPLOAD, files_pb2.DeleteUploadRequest(upload_id=upload.upload_id)
        )
    except PolybatchError as error:
        raise _translated(error, upload) from error
    return json_response(upload.object(request, "cancelled"))


def _translated(error: PolybatchError, upload: _Upload) -> Exception:
    """The engine's own ids are nobody's business."""
    match error.reason:
        case "UPLOAD_NOT_FOUND":
            return _no_upload(upload.shown)
        case "PART_NOT_FOUND":
            return HttpError(
                404, "One of the parts is not there, or not whole.", "part_not_found", "part_ids"
            )
        case "UPLOAD_FINISHED":
            return HttpError(409, "The upload is complete already.", "upload_finished", "upload_id")
        case _:
            return error


def _no_upload(shown: str) -> HttpError:
    return HttpError(
        404,
        f"No such Upload object: {shown[:100]}. It may have been cancelled, or have expired.",
        param="upload_id",
    )

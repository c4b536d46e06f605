"""Uploads of the new-batch page that go on after a break, as those of the gRPC API do.

In: an upload id that the page made up, and the bytes of a file from an offset on, in one request
that streams through. Out: where the server stands, the bad lines found so far, in the end the
address of the file. What can go wrong: an offset that is not the committed size, a limit, an
upload that is not there any more; what came before a break is kept, so that the page goes on.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from polybatch.errors import NotFound, PolybatchError
from polybatch.v1 import files_pb2
from starlette.responses import Response

from services.web.body import body_of
from services.web.client_parts import methods
from services.web.dashboard.pages import HEADERS, Visit
from services.web.errors import HttpError
from services.web.openai.files import check_filename
from services.web.responses import json_response
from services.web.sending import FileUpload

_MOST_DIGITS = 18


async def status(visit: Visit) -> Response:
    """GET /uploads/{upload_id}: where to go on, and what was found so far."""
    request = files_pb2.GetUploadStatusRequest(upload_id=visit.request.path_params["upload_id"])
    try:
        found = await visit.engine.call(methods.GET_UPLOAD_STATUS, request)
    except NotFound:
        found = files_pb2.UploadStatus()
    return _answer(
        offset=found.committed_size,
        problem_count=found.problem_count,
        problems=visit.text("_problems.html", problems=found.problems) if found.problems else "",
        next=_address(found.file_id),
    )


async def append(visit: Visit) -> Response:
    """PATCH /uploads/{upload_id}: the bytes from Upload-Offset on, to the end of the file."""
    headers = visit.request.headers
    visit.session.check(headers.get("x-csrf-token", ""))
    spec = files_pb2.UploadSpec(
        upload_id=visit.request.path_params["upload_id"],
        write_offset=_number(visit, "upload-offset"),
        expected_bytes=_number(visit, "upload-length"),
        filename=check_filename(unquote(headers.get("upload-name", "")), "upload-name"),
    )
    async with FileUpload(visit.engine, spec) as sending:
        async for piece in body_of(visit.request).pieces():
            if not await sending.write(piece):
                break
        answer = await sending.finish()
    return _answer(next=_address(answer.file.id))


async def cancel(visit: Visit) -> Response:
    """DELETE /uploads/{upload_id}: nothing is kept, unless it is a file already."""
    visit.session.check(visit.request.headers.get("x-csrf-token", ""))
    request = files_pb2.DeleteUploadRequest(upload_id=visit.request.path_params["upload_id"])
    try:
        await visit.engine.call(methods.DELETE_UPLOAD, request)
    except NotFound:
        return _answer(next="")
    except PolybatchError as error:
        if error.reason != "UPLOAD_FINISHED":
            raise
        return _answer(next=_address(error.metadata.get("file_id", "")))
    return _answer(next="")


def _answer(**fields: Any) -> Response:
    response = json_response(fields)
    response.headers.update(HEADERS)
    return response


def _address(file_id: str) -> str:
    return f"/new/{file_id}" if file_id else ""


def _number(visit: Visit, name: str) -> int:
    text = visit.request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise HttpError(400, f"The header {name} has to be a number of bytes.", "invalid_value")
    return int(text)

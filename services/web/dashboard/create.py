"""Making a batch in two steps: upload a file, then look at what it holds and costs, and create.

In: a form with a file, which goes on to the gateway while it comes; then a form of options. Out:
a page of the file, of its bad lines and its estimate; a batch. What can go wrong: no file, one
that is too large, options out of range; a file with bad lines is kept, so that they can be seen.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from polybatch.errors import InvalidRequest, NotFound, PermissionDenied
from polybatch.models import LineProblem
from polybatch.v1 import accounts_pb2, batches_pb2, files_pb2
from starlette.responses import Response

from services.web.body import body_of
from services.web.client_parts import account_methods, methods
from services.web.dashboard import options
from services.web.dashboard.pages import FOLDER, HEADERS, Visit, redirect
from services.web.errors import HttpError
from services.web.ids import InputFile, parse_file
from services.web.multipart import Form
from services.web.openai.files import check_filename
from services.web.responses import json_response, streamed
from services.web.sending import FileUpload

SAMPLES = ("chat-completions", "embeddings", "messages")
_PROBLEMS = 200


async def show(visit: Visit) -> Response:
    """GET /new."""
    most = visit.site.settings.max_file_bytes
    return visit.page("new.html", samples=SAMPLES, max_bytes=most)


async def upload(visit: Visit) -> Response:
    """POST /new: the file. The token stands before it in the form."""
    form = Form(visit.request.headers.get("content-type", ""), "file")
    spec = files_pb2.UploadSpec(discard_unfinished=True)
    checked = False
    async with FileUpload(visit.engine, spec) as sending:
        wanted = True
        async for piece in body_of(visit.request).pieces():
            pieces = form.feed(piece)
            if not checked and form.filename is not None:
                visit.session.check(form.fields.get("csrf", ""))
                spec.filename, checked = check_filename(form.filename, "file"), True
            for data in pieces:
                wanted = await sending.write(data)
            if not wanted:
                break
        if wanted:
            form.finish()
            if not form.filename:
                raise HttpError(400, "No file was chosen.", "missing_required_parameter", "file")
        answer = await sending.finish()
    address = f"/new/{answer.file.id}"
    if "application/json" in visit.request.headers.get("accept", ""):
        return json_response({"next": address})
    return redirect(address)


async def review(visit: Visit) -> Response:
    """GET /new/{file_id}: what a file holds."""
    return await _review(visit, await _file(visit), {}, "", 200)


async def create(visit: Visit) -> Response:
    """POST /new/{file_id}."""
    fields = await visit.form()
    file = await _file(visit)
    request = batches_pb2.CreateBatchRequest(
        input_file_id=file.id,
        request_id=f"web:{fields.get('once', '')[:64]}",
        skip_invalid_lines="skip_invalid_lines" in fields,
        lenient_translation="lenient_translation" in fields,
        fail_fast="fail_fast" in fields,
        key_id=fields.get("key_id", ""),
        name=fields.get("name", "").strip(),
    )
    try:
        options.take_options(request, fields)
    except HttpError as error:
        return await _review(visit, file, fields, error.message, error.status)
    batch = await visit.engine.call(methods.CREATE_BATCH, request)
    return redirect(f"/batches/{batch.id}")


async def report(visit: Visit) -> Response:
    """GET /new/{file_id}/report.jsonl: every problem of a file."""
    file = await _file(visit)
    content = files_pb2.FILE_CONTENT_VALIDATION_REPORT
    request = files_pb2.DownloadFileRequest(file_id=file.id, content=content)
    stream = visit.engine.transport.replies(methods.DOWNLOAD_FILE, request)

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            while (reply := await stream.read()) is not None:
                yield reply.chunk
        finally:
            stream.cancel()

    name = f'attachment; filename="{file.id}-report.jsonl"'
    return await streamed(chunks(), "application/jsonl", {**HEADERS, "content-disposition": name})


async def sample(visit: Visit) -> Response:
    """GET /samples/{name}.jsonl."""
    name = visit.request.path_params["name"]
    if name not in SAMPLES:
        raise HttpError(404, f"There are the samples {', '.join(SAMPLES)}.")
    return Response(
        (FOLDER / "samples" / f"{name}.jsonl").read_bytes(),
        media_type="application/jsonl",
        headers={**HEADERS, "content-disposition": f'attachment; filename="{name}.jsonl"'},
    )


async def _review(
    visit: Visit, file: files_pb2.File, given: dict[str, str], problem: str, status: int
) -> Response:
    good = file.line_count - file.invalid_line_count
    # Where no line can be sent as it is, some may once what their providers lack is left out.
    estimate, unknown = await _estimate(visit, file, lenient=not good)
    return visit.page(
        "review.html",
        status,
        file=file,
        ready=file.state == files_pb2.FILE_STATE_READY,
        sendable=good + file.lenient_line_count,
        problems=await _problems(visit, file.id),
        estimate=estimate,
        unknown=unknown,
        keys=await _keys(visit),
        offered=options,
        given=given,
        more=any(given.get(name) for name in options.MORE),
        problem=problem,
        once=given.get("once") or secrets.token_urlsafe(18),
    )


async def _file(visit: Visit) -> files_pb2.File:
    asked = parse_file(visit.request.path_params["file_id"])
    if not isinstance(asked, InputFile):
        raise HttpError.not_found("file", visit.request.path_params["file_id"])
    request = files_pb2.GetFileRequest(file_id=asked.file_id)
    found: files_pb2.File = await visit.engine.call(methods.GET_FILE, request)
    return found


async def _problems(visit: Visit, file_id: str) -> list[LineProblem]:
    """The first of them, and of the warnings."""
    found: list[LineProblem] = []
    async with aclosing(visit.engine.downloads.validation_report(file_id)) as reported:
        async for each in reported:
            found.append(each)
            if len(found) >= _PROBLEMS:
                break
    return found


async def _estimate(visit: Visit, file: files_pb2.File, *, lenient: bool) -> tuple[Any, str]:
    """The estimate of the lines that can be sent; or None and why there is none."""
    request = batches_pb2.EstimateBatchRequest(
        input_file_id=file.id, skip_invalid_lines=True, lenient_translation=lenient
    )
    try:
        return await visit.engine.call(methods.ESTIMATE_BATCH, request), ""
    except (InvalidRequest, NotFound) as error:
        return None, error.message


async def _keys(visit: Visit) -> list[accounts_pb2.Key]:
    """Those that a batch can be billed to; none where the caller's own is the only choice."""
    request = accounts_pb2.ListKeysRequest(page_size=1000)
    try:
        answer = await visit.engine.call(account_methods.LIST_KEYS, request)
    except PermissionDenied:
        return []
    return [each for each in answer.keys if not each.HasField("revoked_at")]

"""Files of OpenAI's API: input files that are uploaded, and the results of batches.

In: a form with a file, which goes on to the gateway while it comes. Out: File objects, contents.
What can go wrong: no form, a field that is wrong (400), a file that is too large (413), no such
file (404), one that a batch reads (409). Of an upload that does not end well nothing is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from polybatch.errors import NotFound
from polybatch.models import ResultFilter
from polybatch.v1 import batches_pb2, files_pb2
from starlette.requests import Request
from starlette.responses import Response

from services.web.body import body_of
from services.web.client_parts import methods
from services.web.errors import HttpError
from services.web.ids import InputFile, ResultsFile, parse_file, shown_file
from services.web.listing import list_batches, list_files
from services.web.multipart import Form
from services.web.openai.batches import ExpiresAfter
from services.web.openai.objects import (
    ENDED_WITH_RESULTS,
    PURPOSE_INPUT,
    PURPOSE_RESULTS,
    RESULTS_KINDS,
    ended_at,
    file_object,
    page,
    results_files,
    results_object,
    with_problems,
)
from services.web.operations import Choice, Text, WholeNumber
from services.web.responses import json_response, streamed
from services.web.sending import FileUpload
from services.web.upstream import Engine

LIMIT = WholeNumber("limit", 10_000, 10_000)
ORDER = Choice("order", ("asc", "desc"), "desc")
PURPOSE = Text("purpose")
AFTER = Text("after")
SETTLED_AFTER = WholeNumber("settled_after", 0, 2**31 - 1)

_JSONL = "application/jsonl"
_MAX_FILENAME_BYTES = 255
# The size of a results file is asked of the collector, one call each.
_RESULTS_PAGE = 100
_SIZES_AT_ONCE = 8


async def create(request: Request, engine: Engine) -> Response:
    """POST /v1/files."""
    form = Form(request.headers.get("content-type", ""), "file")
    upload_id = _upload_id(request.headers.get("idempotency-key", ""))
    if upload_id and (earlier := await _uploaded(engine, upload_id)) is not None:
        await _check_repeated(request, form, earlier)
        return json_response(file_object(earlier))
    # What breaks off, or turns out to be wrong behind the file, is to leave nothing.
    spec = files_pb2.UploadSpec(upload_id=upload_id, discard_unfinished=True)
    async with FileUpload(engine, spec) as upload:
        wanted = True
        async for piece in body_of(request).pieces():
            for data in form.feed(piece):
                spec.filename = check_filename(form.filename or "", "file")
                wanted = await upload.write(data)
            if not wanted:
                break
        if wanted:
            form.finish()
            _check_purpose(form.fields)
            spec.filename = check_filename(form.filename or "", "file")
            if (expires := _expires_after(form.fields)) is not None:
                # It may stand behind the file, of which some has been sent.
                await upload.expire(expires.seconds)
        answer = await upload.finish()
    if not wanted:
        await body_of(request).drain()
    return json_response(with_problems(file_object(answer.file), answer.problems))


async def list_all(request: Request, engine: Engine) -> Response:
    """GET /v1/files: input files first, then the results of batches; newest first in each.

    In ascending order the other way round.
    """
    size, order, purpose = LIMIT.read(request), ORDER.read(request), PURPOSE.read(request)
    kinds = [each for each in (PURPOSE_INPUT, PURPOSE_RESULTS) if purpose in (None, each)]
    if order == "asc":
        kinds.reverse()
    after = AFTER.read(request)
    begun = parse_file(after) if after else None
    if begun is not None:
        kind = PURPOSE_INPUT if isinstance(begun, InputFile) else PURPOSE_RESULTS
        if kind not in kinds:
            raise HttpError(400, "'after' is a file of another purpose.", "invalid_value", "after")
        kinds = kinds[kinds.index(kind) :]
    data: list[dict[str, Any]] = []
    more = False
    for number, kind in enumerate(kinds, 1):
        place = begun if number == 1 else None
        left, ascending = size - len(data), order == "asc"
        if kind == PURPOSE_INPUT:
            last = place.file_id if isinstance(place, InputFile) else None
            files, more = await list_files(engine, left, last, oldest_first=ascending)
            data += map(file_object, files)
        else:
            results = place if isinstance(place, ResultsFile) else None
            found, more = await _results(
                engine, min(left, _RESULTS_PAGE), results, oldest_first=ascending
            )
            data += found
        if more or len(data) >= size:
            more = more or number < len(kinds)
            break
    return json_response(page(data, more=more))


async def retrieve(request: Request, engine: Engine) -> Response:
    """GET /v1/files/{file_id}."""
    file = parse_file(request.path_params["file_id"])
    if isinstance(file, InputFile):
        return json_response(file_object(await _get(engine, file)))
    batch = await engine.call(
        methods.GET_BATCH, batches_pb2.GetBatchRequest(batch_id=file.batch_id)
    )
    if file not in results_files(batch):
        raise HttpError.not_found("File object", file.shown)
    return json_response(await _sized(engine, batch, file))


async def content(request: Request, engine: Engine) -> Response:
    """GET /v1/files/{file_id}/content."""
    after = SETTLED_AFTER.read(request)
    file = parse_file(request.path_params["file_id"])
    if isinstance(file, InputFile):
        size = (await _get(engine, file)).bytes
        chunks = engine.downloads.file_chunks(file.file_id)
        return await streamed(chunks, _JSONL, {"content-length": str(size)})
    batch = await engine.call(
        methods.GET_BATCH, batches_pb2.GetBatchRequest(batch_id=file.batch_id)
    )
    if ended_at(batch) is None or after:
        return await _settled(engine, file, after)
    stream = engine.results(file.batch_id, file.which)
    answer = await streamed(stream.chunks(), _JSONL)
    answer.headers["content-length"] = str(stream.header.total_bytes)
    return answer


async def _settled(engine: Engine, file: ResultsFile, after: int) -> Response:
    """What is there of the results of a batch that may not have ended."""
    replies = engine.settled(file.batch_id, file.which, after)
    try:
        first = await anext(replies, None)
        if first is None:
            raise HttpError(503, "The results came without a head.", retry=True)
    except BaseException:
        await replies.aclose()
        raise
    header = first.header

    async def chunks() -> AsyncGenerator[bytes, None]:
        async with aclosing(replies):
            async for reply in replies:
                yield reply.chunk

    answer = await streamed(chunks(), _JSONL)
    answer.headers["x-incomplete"] = "true" if header.incomplete else "false"
    answer.headers["x-last-line"] = str(header.complete_until_line)
    answer.headers["x-settled-until"] = str(header.settled_until)
    return answer


async def delete(request: Request, engine: Engine) -> Response:
    """DELETE /v1/files/{file_id}."""
    shown = request.path_params["file_id"]
    file = parse_file(shown)
    if isinstance(file, InputFile):
        await engine.call(methods.DELETE_FILE, files_pb2.DeleteFileRequest(file_id=file.file_id))
    else:
        batch = await engine.call(
            methods.GET_BATCH, batches_pb2.GetBatchRequest(batch_id=file.batch_id)
        )
        if file not in results_files(batch):
            raise HttpError.not_found("File object", shown)
        asked = batches_pb2.DeleteResultsRequest(
            batch_id=file.batch_id, kind=RESULTS_KINDS[file.which]
        )
        await engine.call(methods.DELETE_RESULTS, asked)
    return json_response({"id": shown, "object": "file", "deleted": True})


async def _results(
    engine: Engine, size: int, after: ResultsFile | None, *, oldest_first: bool
) -> tuple[list[dict[str, Any]], bool]:
    """Results files of batches in the batches' order; fewer than `size` may be all of a page."""
    found: list[tuple[batches_pb2.Batch, ResultsFile]] = []
    if after is not None and after.which is ResultFilter.SUCCEEDED:
        # The other half of a batch may have been cut off by the page before. What was named may
        # be gone: who deletes what a page lists asks for the next one behind it.
        with suppress(NotFound):
            batch = await engine.call(
                methods.GET_BATCH, batches_pb2.GetBatchRequest(batch_id=after.batch_id)
            )
            files = results_files(batch)
            found += [(batch, each) for each in files if each.which is ResultFilter.FAILED]
    place = after.batch_id if after else None
    more = True
    # Results of many batches in a row may be deleted: the SDKs take an empty page for the end.
    while more and len(found) < size:
        batches, more = await list_batches(
            engine, _RESULTS_PAGE, place, oldest_first=oldest_first, states=ENDED_WITH_RESULTS
        )
        found += [(batch, each) for batch in batches for each in results_files(batch)]
        place = batches[-1].id if batches else place
    shown, more = found[:size], more or len(found) > size
    limit = asyncio.Semaphore(_SIZES_AT_ONCE)

    async def sized(batch: batches_pb2.Batch, file: ResultsFile) -> dict[str, Any]:
        async with limit:
            return await _sized(engine, batch, file)

    return list(await asyncio.gather(*(sized(*each) for each in shown))), more


async def _sized(engine: Engine, batch: batches_pb2.Batch, file: ResultsFile) -> dict[str, Any]:
    """A results file with its size, which stands at the head of the results."""
    stream = engine.results(file.batch_id, file.which)
    chunks = stream.chunks()
    try:
        await anext(chunks, b"")
    finally:
        await chunks.aclose()
    return results_object(batch, file, stream.header.total_bytes)


async def _get(engine: Engine, file: InputFile) -> files_pb2.File:
    request = files_pb2.GetFileRequest(file_id=file.file_id)
    found: files_pb2.File = await engine.call(methods.GET_FILE, request)
    return found


def check_filename(filename: str, param: str) -> str:
    """The same. Raises HttpError (400) where it is too long, or holds U+0000."""
    if len(filename.encode(errors="replace")) > _MAX_FILENAME_BYTES or "\0" in filename:
        raise HttpError(
            400,
            f"The filename has to have at most {_MAX_FILENAME_BYTES} bytes, and no U+0000.",
            "invalid_value",
            param,
        )
    return filename


def _check_purpose(fields: dict[str, str]) -> None:
    """Raises HttpError (400)."""
    purpose = fields.get("purpose")
    if purpose is None:
        raise HttpError(
            400, "'purpose' is a required property.", "missing_required_parameter", "purpose"
        )
    check_purpose(purpose)


def _expires_after(fields: dict[str, str]) -> ExpiresAfter | None:
    """When the file is to be deleted. Raises HttpError (400)."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    number = int(seconds) if seconds and seconds.isdecimal() and len(seconds) < 10 else 0
    asked = ExpiresAfter(anchor or "", number)
    asked.check("expires_after")
    return asked


def check_purpose(purpose: str) -> None:
    """Raises HttpError (400) for another one than files of batches have."""
    if purpose != PURPOSE_INPUT:
        raise HttpError(
            400,
            f"'{purpose[:50]}' is not one of the purposes here: expected 'batch'.",
            "invalid_value",
            "purpose",
        )


def _upload_id(key: str) -> str:
    """The upload of an Idempotency-Key; empty without one."""
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:40]}" if key else ""


async def _check_repeated(request: Request, form: Form, earlier: files_pb2.File) -> None:
    """Read a form to its end. Raises HttpError (400; 409 where another was sent with its key)."""
    content = hashlib.sha256()
    async for piece in body_of(request).pieces():
        for data in form.feed(piece):
            content.update(data)
    form.finish()
    _check_purpose(form.fields)
    # When it expires, batches and the service may have changed since.
    _expires_after(form.fields)
    if content.hexdigest() != earlier.sha256 or (form.filename or "") != earlier.filename:
        raise HttpError(
            409,
            f"The Idempotency-Key made {shown_file(earlier.id)} of other content, or under "
            "another filename: choose a new key.",
            "request_id_reused",
        )


async def _uploaded(engine: Engine, upload_id: str) -> files_pb2.File | None:
    """The file that an earlier request with the same key has made."""
    try:
        status = await engine.call(
            methods.GET_UPLOAD_STATUS, files_pb2.GetUploadStatusRequest(upload_id=upload_id)
        )
    except NotFound:
        return None
    return await _get(engine, InputFile(status.file_id)) if status.complete else None

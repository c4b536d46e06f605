"""Message Batches of Anthropic's API.

In: requests in Anthropic's own form, which go on to the gateway while they come; those with models
of other providers are converted once they are there. Out: MessageBatch objects; results as
Anthropic gives them. What can go wrong: a body that is none, a request that no
batch can have (400, and nothing is kept), no such batch (404), a limit (413, 429).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from polybatch.errors import InvalidLines, PolybatchError
from polybatch.models import ResultFilter
from polybatch.v1 import batches_pb2, files_pb2
from starlette.requests import Request
from starlette.responses import Response

from core.endpoints import CHAT_COMPLETIONS, MESSAGES
from services.web.addresses import base_url
from services.web.anthropic.conversion import converted, named, names_other_models
from services.web.anthropic.objects import has_ended, message_batch, result_lines
from services.web.anthropic.splitter import RequestSplitter
from services.web.body import body_of
from services.web.client_parts import methods
from services.web.creating import create_batch
from services.web.errors import ANTHROPIC_PREFIX, HttpError
from services.web.ids import parse_message_batch, shown_message_batch
from services.web.listing import list_batches
from services.web.operations import Text, WholeNumber
from services.web.responses import json_response, streamed
from services.web.sending import FileUpload
from services.web.upstream import Engine

LIMIT = WholeNumber("limit", 20, 1000)
AFTER = Text("after_id")
BEFORE = Text("before_id")

_FILENAME = "requests.jsonl"
# Chat completions, made here or at OpenAI's API, are read as messages.
_FORMS = (MESSAGES, CHAT_COMPLETIONS)
_READ_AT_ONCE = 100


async def create(request: Request, engine: Engine) -> Response:
    """POST /anthropic/v1/messages/batches."""
    body = body_of(request)
    splitter = RequestSplitter(body.settings.max_line_bytes)
    spec = files_pb2.UploadSpec(filename=_FILENAME, discard_unfinished=True)
    async with FileUpload(engine, spec) as upload:
        wanted = True
        async for piece in body.pieces():
            lines = splitter.feed(piece)
            if lines:
                wanted = await upload.write(b"\n".join(lines) + b"\n")
            if not wanted:
                break
        if wanted:
            splitter.finish()
            if not splitter.count:
                raise HttpError(400, "requests: at least one request is needed.")
        answer = await upload.finish()
    # What is no batch's in the end is deleted: nobody knows of it.
    batch = None
    try:
        if names_other_models(answer.problems):
            native, answer = answer.file, await converted(engine, answer.file)
            await _discard(engine, native)
        batch = await _make(request, engine, answer.file)
    finally:
        if batch is None or batch.input_file_id != answer.file.id:
            await _discard(engine, answer.file)
    return json_response(_shown(batch, request))


async def _discard(engine: Engine, file: files_pb2.File) -> None:
    # Should this fail, it is an input file like others.
    with suppress(PolybatchError):
        await engine.call(methods.DELETE_FILE, files_pb2.DeleteFileRequest(file_id=file.id))


async def retrieve(request: Request, engine: Engine) -> Response:
    """GET /anthropic/v1/messages/batches/{batch_id}."""
    return json_response(_shown(await _get(request, engine), request))


async def cancel(request: Request, engine: Engine) -> Response:
    """POST /anthropic/v1/messages/batches/{batch_id}/cancel."""
    batch = await _get(request, engine)
    batch = await engine.call(
        methods.CANCEL_BATCH, batches_pb2.CancelBatchRequest(batch_id=batch.id)
    )
    return json_response(_shown(batch, request))


async def delete(request: Request, engine: Engine) -> Response:
    """DELETE /anthropic/v1/messages/batches/{batch_id}."""
    batch = await _get(request, engine)
    if not has_ended(batch):
        raise HttpError(400, "The batch has not ended: cancel it first.")
    await engine.call(methods.DELETE_BATCH, batches_pb2.DeleteBatchRequest(batch_id=batch.id))
    return json_response({"id": shown_message_batch(batch.id), "type": "message_batch_deleted"})


async def results(request: Request, engine: Engine) -> Response:
    """GET /anthropic/v1/messages/batches/{batch_id}/results."""
    batch = await _get(request, engine)
    chunks = engine.results(batch.id, ResultFilter.ALL).chunks()
    return await streamed(result_lines(chunks, batch), "application/x-jsonl")


async def list_all(request: Request, engine: Engine) -> Response:
    """GET /anthropic/v1/messages/batches: those of this form, newest first."""
    size = LIMIT.read(request)
    after, before = AFTER.read(request), BEFORE.read(request)
    if after and before:
        raise HttpError(400, "Only one of after_id and before_id can be given.")
    place = parse_message_batch(after or before or "") if after or before else None
    found, more = await _page(engine, size, place, oldest_first=bool(before))
    if before:
        found.reverse()
    data = [_shown(batch, request) for batch in found]
    return json_response(
        {
            "data": data,
            "has_more": more,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    )


async def _make(request: Request, engine: Engine, file: files_pb2.File) -> batches_pb2.Batch:
    if file.endpoint not in (*_FORMS, ""):
        raise HttpError(400, 'A request has to be {"custom_id": ..., "params": {...}}.')
    try:
        return await create_batch(
            request, engine, batches_pb2.CreateBatchRequest(input_file_id=file.id)
        )
    except InvalidLines as error:
        raise HttpError(400, named(error.problems)) from error


async def _get(request: Request, engine: Engine) -> batches_pb2.Batch:
    shown = request.path_params["batch_id"]
    batch: batches_pb2.Batch = await engine.call(
        methods.GET_BATCH, batches_pb2.GetBatchRequest(batch_id=parse_message_batch(shown))
    )
    if batch.endpoint not in _FORMS:
        of = f"of {batch.endpoint}" if batch.endpoint else "without a valid line"
        raise HttpError(
            400,
            f"The batch is one {of}, which Anthropic's API has no form for: read it at "
            f"/v1/batches/{batch.id}.",
        )
    return batch


async def _page(
    engine: Engine, size: int, place: str | None, *, oldest_first: bool
) -> tuple[list[batches_pb2.Batch], bool]:
    """Up to `size` batches of this form; and whether there is one more."""
    found: list[batches_pb2.Batch] = []
    more = True
    while more and len(found) <= size:
        batches, more = await list_batches(engine, _READ_AT_ONCE, place, oldest_first=oldest_first)
        found += [batch for batch in batches if batch.endpoint in _FORMS]
        place = batches[-1].id if batches else place
    return found[:size], len(found) > size


def _shown(batch: batches_pb2.Batch, request: Request) -> dict[str, Any]:
    return message_batch(batch, f"{base_url(request)}{ANTHROPIC_PREFIX}")

"""The list of batches, one batch, its lines and its results."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from urllib.parse import quote

import msgspec
from google.protobuf.json_format import MessageToDict
from polybatch.errors import NotFound
from polybatch.models import ResultFilter
from polybatch.v1 import batches_pb2, files_pb2, results_pb2
from starlette.responses import Response

from services.web.client_parts import methods
from services.web.dashboard.failures import failures
from services.web.dashboard.finding import filter_of
from services.web.dashboard.lines import find_line
from services.web.dashboard.pages import HEADERS, Visit, redirect
from services.web.dashboard.shown import STATES, BatchView
from services.web.errors import HttpError
from services.web.ids import parse_batch
from services.web.listing import list_batches
from services.web.responses import streamed
from services.web.upstream import Engine

PAGE = 50
_NAMES_AT_ONCE = 8
_ID = re.compile(r"(?:batch_)?([0-9a-z]{20})", re.ASCII)
_FILTERS = {
    "all": ResultFilter.ALL,
    "succeeded": ResultFilter.SUCCEEDED,
    "failed": ResultFilter.FAILED,
}


async def show_list(visit: Visit) -> Response:
    """GET /: a page of batches, newest first; those that are asked for, or in a state."""
    query = visit.request.query_params
    asked, state = query.get("q", "").strip(), query.get("state", "")
    if match := _ID.fullmatch(asked):
        batch_id = f"batch_{match[1]}"
        try:
            await get_batch(visit.engine, batch_id)
        except NotFound:
            pass
        else:
            return redirect(f"/batches/{batch_id}")
    states = [number for number, (name, _, _) in STATES.items() if name == state]
    after = query.get("after", "")
    found, more = await list_batches(
        visit.engine,
        PAGE,
        parse_batch(after) if after else None,
        oldest_first=False,
        states=states,
        filter=filter_of(asked),
    )
    base = str(visit.request.base_url).rstrip("/")
    return visit.page(
        "batches.html",
        batches=await with_names(visit.engine, found),
        more=more,
        state=state if states else "",
        asked=asked,
        after=after,
        base=base,
        # Goes into links to other pages of the same list.
        asked_query=f"q={quote(asked)}" if asked else "",
    )


async def show(visit: Visit) -> Response:
    """GET /batches/{batch_id}."""
    batch = await get_batch(visit.engine, batch_id_of(visit))
    [view] = await with_names(visit.engine, [batch])
    return visit.page("batch.html", batch=view, **await failures(visit, view))


async def download(visit: Visit) -> Response:
    """GET /batches/{batch_id}/results/{which}.jsonl; merged: with the newest answers of retries."""
    name = visit.request.path_params["which"]
    batch_id = batch_id_of(visit)
    attached = _attached(f"{batch_id}{'' if name == 'all' else f'-{name}'}.jsonl")
    if name == "merged":
        return await streamed(_merged(visit.engine, batch_id), "application/jsonl", attached)
    which = _FILTERS.get(name)
    if which is None:
        raise HttpError(404, "There are results of all, succeeded, failed and merged lines.")
    stream = visit.engine.results(batch_id, which)
    response = await streamed(stream.chunks(), "application/jsonl", attached)
    response.headers["content-length"] = str(stream.header.total_bytes)
    return response


async def _merged(engine: Engine, batch_id: str) -> AsyncGenerator[bytes, None]:
    """It cannot go on where it broke: a retry may have ended meanwhile."""
    request = results_pb2.DownloadResultsRequest(batch_id=batch_id, merged=True)
    stream = engine.transport.replies(methods.DOWNLOAD_RESULTS, request)
    try:
        while (reply := await stream.read()) is not None:
            if reply.chunk:
                yield reply.chunk
    finally:
        stream.cancel()


async def manifest(visit: Visit) -> Response:
    """GET /batches/{batch_id}/manifest.json."""
    batch_id = batch_id_of(visit)
    stream = visit.engine.results(batch_id, ResultFilter.ALL)
    async with aclosing(stream.chunks()) as chunks:
        await anext(chunks, b"")
    content = MessageToDict(stream.header.manifest, preserving_proto_field_name=True)
    return Response(
        msgspec.json.format(msgspec.json.encode(content), indent=2),
        media_type="application/json",
        headers=_attached(f"{batch_id}-manifest.json"),
    )


async def show_line(visit: Visit) -> Response:
    """GET /batches/{batch_id}/lines/{line}: its request and its answer."""
    batch = await get_batch(visit.engine, batch_id_of(visit))
    [view] = await with_names(visit.engine, [batch])
    number = visit.request.path_params["line"]
    found = await find_line(visit.engine, batch, number, view.has_results)
    return visit.page("line.html", batch=view, number=number, line=found)


async def go_to_line(visit: Visit) -> Response:
    """GET /batches/{batch_id}/lines?line=7."""
    asked = visit.request.query_params.get("line", "").strip()
    batch_id = batch_id_of(visit)
    if not (asked.isascii() and asked.isdigit() and 0 < len(asked) < 10 and int(asked)):
        raise HttpError(400, "The number of a line of the file is expected, from 1 on.")
    return redirect(f"/batches/{batch_id}/lines/{int(asked)}")


async def get_batch(engine: Engine, batch_id: str) -> batches_pb2.Batch:
    """Raises NotFound."""
    found: batches_pb2.Batch = await engine.call(
        methods.GET_BATCH, batches_pb2.GetBatchRequest(batch_id=batch_id)
    )
    return found


async def with_names(engine: Engine, batches: Iterable[batches_pb2.Batch]) -> list[BatchView]:
    """Batches with the names of their files, where these are still there."""
    limit = asyncio.Semaphore(_NAMES_AT_ONCE)

    async def named(batch: batches_pb2.Batch) -> BatchView:
        async with limit:
            known = batch.name or await file_name(engine, batch.input_file_id)
            return BatchView(batch, known)

    return list(await asyncio.gather(*(named(each) for each in batches)))


async def file_name(engine: Engine, file_id: str) -> str:
    """Empty where the file is gone, or has none."""
    try:
        file = await engine.call(methods.GET_FILE, files_pb2.GetFileRequest(file_id=file_id))
    except NotFound:
        return ""
    return str(file.filename)


def batch_id_of(visit: Visit) -> str:
    """That of the address. Raises HttpError (404)."""
    return parse_batch(visit.request.path_params["batch_id"])


def _attached(name: str) -> dict[str, str]:
    """Headers of what is saved, never shown: whatever stands in it is not read as a page."""
    return {**HEADERS, "content-disposition": f'attachment; filename="{name}"'}

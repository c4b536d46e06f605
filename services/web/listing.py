"""Pages of the engine's lists, from behind an id: the SDKs name the last one they saw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from polybatch.errors import NotFound
from polybatch.v1 import batches_pb2, files_pb2

from core.serving.paging import page_token
from services.web.client_parts import Method, methods
from services.web.ids import milliseconds_of
from services.web.upstream import Engine

_ENGINE_PAGE = 1000


async def list_files(
    engine: Engine, size: int, after: str | None, *, oldest_first: bool
) -> tuple[list[files_pb2.File], bool]:
    """Up to `size` files behind the one of an engine's id; and whether there are more."""
    get = (methods.GET_FILE, files_pb2.GetFileRequest(file_id=after)) if after else None
    return await _list(
        engine,
        methods.LIST_FILES,
        files_pb2.ListFilesRequest(oldest_first=oldest_first),
        "files",
        size,
        await _token(engine, after, get, oldest_first=oldest_first),
    )


async def list_batches(
    engine: Engine,
    size: int,
    after: str | None,
    *,
    oldest_first: bool,
    states: Any = (),
    filter: str = "",
) -> tuple[list[batches_pb2.Batch], bool]:
    """The same of batches; only those in one of the states, and that the filter lets through."""
    get = (methods.GET_BATCH, batches_pb2.GetBatchRequest(batch_id=after)) if after else None
    return await _list(
        engine,
        methods.LIST_BATCHES,
        batches_pb2.ListBatchesRequest(oldest_first=oldest_first, states=states, filter=filter),
        "batches",
        size,
        await _token(engine, after, get, oldest_first=oldest_first),
    )


async def _list(
    engine: Engine, method: Method, request: Any, rows: str, size: int, token: str
) -> tuple[list[Any], bool]:
    found: list[Any] = []
    while True:
        request.page_size = min(_ENGINE_PAGE, size - len(found))
        request.page_token = token
        answer = await engine.call(method, request)
        found += getattr(answer, rows)
        token = answer.next_page_token
        if not token or len(found) >= size:
            return found, bool(token)


async def _token(
    engine: Engine, after: str | None, get: tuple[Method, Any] | None, *, oldest_first: bool
) -> str:
    """The engine's token for what comes behind a row, which may be gone meanwhile."""
    if after is None or get is None:
        return ""
    try:
        row = await engine.call(*get)
    except NotFound:
        # Its id says when it was made, up to the moment until its row was.
        moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds_of(after))
        made = moment if oldest_first else moment + timedelta(milliseconds=1)
    else:
        made = row.created_at.ToDatetime(tzinfo=UTC)
    return page_token(made, after)

"""What happens, as server-sent events: parts of the pages, drawn anew from snapshots.

An event's id is the revision of its batch: a browser that reconnects names it, and is told only
what came since. An event that is older than what a page shows is dropped there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from polybatch._transport import methods
from polybatch.errors import PolybatchError
from polybatch.v1 import status_pb2
from starlette.responses import Response

from services.web.dashboard.batches import batch_id_of, file_name, get_batch
from services.web.dashboard.failures import failures
from services.web.dashboard.pages import HEADERS, Visit
from services.web.dashboard.shown import BatchView
from services.web.responses import streamed

# How long a browser waits before it connects again, in milliseconds.
_HELLO = b"retry: 2000\n\n"
_ALIVE = b": alive\n\n"
_MOST_NAMES = 1000


async def batch(visit: Visit) -> Response:
    """GET /batches/{batch_id}/events."""
    batch_id = batch_id_of(visit)
    seen = visit.request.headers.get("last-event-id") or visit.request.query_params.get("seen", "")
    revision = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 18 else 0
    first = await get_batch(visit.engine, batch_id)
    name = first.name or await file_name(visit.engine, first.input_file_id)
    return await _events(_one(visit, batch_id, revision, name))


async def all_batches(visit: Visit) -> Response:
    """GET /events."""
    return await _events(_all(visit))


async def _events(chunks: AsyncGenerator[bytes, None]) -> Response:
    headers = {**HEADERS, "x-accel-buffering": "no"}
    return await streamed(chunks, "text/event-stream", headers)


async def _one(
    visit: Visit, batch_id: str, revision: int, name: str
) -> AsyncGenerator[bytes, None]:
    yield _HELLO
    request = status_pb2.WatchBatchRequest(batch_id=batch_id, last_revision=revision)
    stream = visit.engine.transport.replies(methods.WATCH_BATCH, request)
    try:
        while (reply := await stream.read()) is not None:
            if not reply.HasField("batch"):
                yield _ALIVE
                continue
            view = BatchView(reply.batch, name)
            lines = await failures(visit, view)
            text = visit.text("_batch.html", batch=view, **lines)
            yield event("batch", text, view.revision)
        yield event("end", "ended")
    except PolybatchError as error:
        yield _broken(error)
    finally:
        stream.cancel()


async def _all(visit: Visit) -> AsyncGenerator[bytes, None]:
    yield _HELLO
    names: dict[str, str] = {}
    stream = visit.engine.transport.replies(methods.WATCH_BATCHES, status_pb2.WatchBatchesRequest())
    try:
        while (reply := await stream.read()) is not None:
            if not reply.HasField("batch"):
                yield _ALIVE
                continue
            file_id = reply.batch.input_file_id
            if not reply.batch.name and file_id not in names:
                if len(names) >= _MOST_NAMES:
                    names.clear()
                names[file_id] = await file_name(visit.engine, file_id)
            view = BatchView(reply.batch, names.get(file_id, ""))
            yield event("row", visit.text("_row.html", batch=view))
    except PolybatchError as error:
        yield _broken(error)
    finally:
        stream.cancel()


def _broken(error: PolybatchError) -> bytes:
    """Without an answer the browser connects again; a session that has ended is not tried."""
    return event("signed-out", "ended") if error.code == "UNAUTHENTICATED" else b": broken\n\n"


def event(name: str, text: str, revision: int | None = None) -> bytes:
    """One event; a text of many lines is a field of each."""
    head = f"id: {revision}\n" if revision is not None else ""
    # All three of these end a line of an event.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    data = "".join(f"data: {line}\n" for line in lines if line.strip())
    return f"{head}event: {name}\n{data}\n".encode()

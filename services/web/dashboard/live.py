"""What happens, as server-sent events: parts of the pages, drawn anew from snapshots.

An event's id is the revision of its batch: a browser that reconnects names it, and is told only
what came since. An event that is older than what a page shows is dropped there. Pages that show
the same share one watch (feeds.py).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from polybatch.errors import PolybatchError
from polybatch.v1 import batches_pb2, status_pb2
from starlette.requests import Request
from starlette.responses import Response

from services.web.client_parts import methods
from services.web.dashboard.batches import batch_id_of, file_name, get_batch
from services.web.dashboard.failures import failures
from services.web.dashboard.feeds import Event, Source
from services.web.dashboard.pages import HEADERS, Visit
from services.web.dashboard.shown import BatchView
from services.web.responses import streamed

# How long a browser waits before it connects again, in milliseconds.
_HELLO = b"retry: 2000\n\n"
_ALIVE = Event(b": alive\n\n")
# Of all batches: the list knows by it that the watch has begun.
_ALL_ALIVE = Event(b"event: alive\ndata: alive\n\n")
_ALL = "all"
_MOST_NAMES = 1000
# In the place of a session's own token; nobody can write it into a batch.
_TOKEN = secrets.token_urlsafe(24).encode()


async def batch(visit: Visit) -> Response:
    """GET /batches/{batch_id}/events."""
    batch_id = batch_id_of(visit)
    seen = visit.request.headers.get("last-event-id") or visit.request.query_params.get("seen", "")
    revision = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 18 else 0
    first = await get_batch(visit.engine, batch_id)
    name = first.name or await file_name(visit.engine, first.input_file_id)
    # What is drawn is for others, too: nothing of this page's query goes into it.
    request = Request({**visit.request.scope, "query_string": b""})
    source = partial(_one, replace(visit, request=request), batch_id, name)
    return await _events(visit, batch_id, source, revision)


async def all_batches(visit: Visit) -> Response:
    """GET /events."""
    return await _events(visit, _ALL, partial(_all, visit))


async def _events(visit: Visit, target: str, source: Source, seen: int = 0) -> Response:
    headers = {**HEADERS, "x-accel-buffering": "no"}
    return await streamed(_shown(visit, target, source, seen), "text/event-stream", headers)


async def _shown(
    visit: Visit, target: str, source: Source, seen: int
) -> AsyncGenerator[bytes, None]:
    """One page's events, behind the revision that it shows."""
    yield _HELLO
    session = visit.session
    async with aclosing(visit.site.feeds.follow(session.key, target, source)) as events:
        async for each in events:
            if not each.revision or each.revision > seen:
                yield each.text.replace(_TOKEN, session.csrf.encode())


async def _one(visit: Visit, batch_id: str, name: str) -> AsyncGenerator[Event, None]:
    stream = visit.engine.transport.replies(
        methods.WATCH_BATCH, status_pb2.WatchBatchRequest(batch_id=batch_id)
    )

    async def draw(view: BatchView) -> bytes:
        text = _drawn(visit, "_batch.html", view, **await failures(visit, view))
        return event("batch", text, view.revision)

    try:
        while (reply := await stream.read()) is not None:
            if not reply.HasField("batch"):
                yield _ALIVE
                continue
            view = BatchView(reply.batch, name)
            text = await visit.site.feeds.drawn("batch", view.raw, partial(draw, view))
            yield Event(text, view.id, view.revision)
        yield Event(event("end", "ended"))
    except PolybatchError as error:
        yield _broken(error)
    finally:
        stream.cancel()


async def _all(visit: Visit) -> AsyncGenerator[Event, None]:
    names: dict[str, str] = {}
    stream = visit.engine.transport.replies(methods.WATCH_BATCHES, status_pb2.WatchBatchesRequest())

    async def draw(batch: batches_pb2.Batch) -> bytes:
        file_id = batch.input_file_id
        if not batch.name and file_id not in names:
            if len(names) >= _MOST_NAMES:
                names.clear()
            names[file_id] = await file_name(visit.engine, file_id)
        return event("row", _drawn(visit, "_row.html", BatchView(batch, names.get(file_id, ""))))

    try:
        while (reply := await stream.read()) is not None:
            if not reply.HasField("batch"):
                yield _ALL_ALIVE
                continue
            batch = reply.batch
            text = await visit.site.feeds.drawn("row", batch, partial(draw, batch))
            yield Event(text, batch.id, batch.revision)
    except PolybatchError as error:
        yield _broken(error)
    finally:
        stream.cancel()


def _drawn(visit: Visit, template: str, view: BatchView, **values: Any) -> str:
    """For whoever sees the batch: the token of a session's forms is filled in for each page."""
    values |= {"csrf": _TOKEN.decode(), "path": f"/batches/{view.id}", "signed_in": True}
    return visit.site.text(template, batch=view, **values)


def _broken(error: PolybatchError) -> Event:
    """Without an answer the browser connects again; a session that has ended is not tried."""
    ended = error.code == "UNAUTHENTICATED"
    return Event(event("signed-out", "ended") if ended else b": broken\n\n")


def event(name: str, text: str, revision: int | None = None) -> bytes:
    """One event; a text of many lines is a field of each."""
    head = f"id: {revision}\n" if revision is not None else ""
    # All three of these end a line of an event.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    data = "".join(f"data: {line}\n" for line in lines if line.strip())
    return f"{head}event: {name}\n{data}\n".encode()

"""Steering one batch: cancel, pause, resume, retry what failed, delete.

In: a form of a page. Out: the page of the batch, or of its child. What can go wrong: it has ended
meanwhile, or nothing is left to retry; the engine says so, and it is told on a page.
"""

from __future__ import annotations

import secrets

from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import batches_pb2
from starlette.responses import Response

from services.web.client_parts import methods
from services.web.dashboard.batches import batch_id_of, get_batch, with_names
from services.web.dashboard.failures import causes_of
from services.web.dashboard.options import WINDOWS, max_cost_of, window_of
from services.web.dashboard.pages import Visit, redirect
from services.web.dashboard.shown import BatchView
from services.web.errors import HttpError


async def confirm_cancel(visit: Visit) -> Response:
    """GET /batches/{batch_id}/cancel."""
    return visit.page("cancel.html", batch=await _view(visit))


async def cancel(visit: Visit) -> Response:
    """POST /batches/{batch_id}/cancel."""
    await visit.form()
    batch_id = batch_id_of(visit)
    await visit.engine.call(methods.CANCEL_BATCH, batches_pb2.CancelBatchRequest(batch_id=batch_id))
    return redirect(f"/batches/{batch_id}")


async def pause(visit: Visit) -> Response:
    """POST /batches/{batch_id}/pause."""
    await visit.form()
    batch_id = batch_id_of(visit)
    await visit.engine.call(methods.PAUSE_BATCH, batches_pb2.PauseBatchRequest(batch_id=batch_id))
    return redirect(f"/batches/{batch_id}")


async def resume(visit: Visit) -> Response:
    """POST /batches/{batch_id}/resume."""
    await visit.form()
    batch_id = batch_id_of(visit)
    await visit.engine.call(methods.RESUME_BATCH, batches_pb2.ResumeBatchRequest(batch_id=batch_id))
    return redirect(f"/batches/{batch_id}")


async def confirm_retry(visit: Visit) -> Response:
    """GET /batches/{batch_id}/retry."""
    return await _retry_page(visit, {}, "", 200)


async def retry(visit: Visit) -> Response:
    """POST /batches/{batch_id}/retry: of all lines that failed, or of those with some causes."""
    fields = await visit.form()
    request = batches_pb2.RetryBatchRequest(
        batch_id=batch_id_of(visit),
        request_id=f"web:{fields.get('once', '')[:64]}",
        cause_ids=sorted(name[6:] for name in fields if name.startswith("cause:")),
        name=fields.get("name", "").strip(),
    )
    try:
        if fields.get("window"):
            request.completion_window.CopyFrom(Duration(seconds=window_of(fields)))
        if (limit := max_cost_of(fields)) is not None:
            request.max_cost.CopyFrom(limit)
    except HttpError as error:
        return await _retry_page(visit, fields, error.message, error.status)
    child = await visit.engine.call(methods.RETRY_BATCH, request)
    return redirect(f"/batches/{child.id}")


async def confirm_delete(visit: Visit) -> Response:
    """GET /batches/{batch_id}/delete."""
    return visit.page("delete.html", batch=await _view(visit))


async def delete(visit: Visit) -> Response:
    """POST /batches/{batch_id}/delete."""
    await visit.form()
    request = batches_pb2.DeleteBatchRequest(batch_id=batch_id_of(visit))
    await visit.engine.call(methods.DELETE_BATCH, request)
    return redirect("/")


async def _view(visit: Visit) -> BatchView:
    [view] = await with_names(visit.engine, [await get_batch(visit.engine, batch_id_of(visit))])
    return view


async def _retry_page(visit: Visit, given: dict[str, str], problem: str, status: int) -> Response:
    view = await _view(visit)
    if not view.has_failures:
        raise HttpError(
            409,
            "Nothing of this batch can be retried: it runs, or no line failed, or its results "
            "were deleted.",
        )
    return visit.page(
        "retry.html",
        status,
        batch=view,
        causes=await causes_of(visit.engine, view.id),
        windows=WINDOWS,
        given=given,
        problem=problem,
        once=given.get("once") or secrets.token_urlsafe(18),
    )

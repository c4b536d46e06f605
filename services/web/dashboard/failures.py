"""Lines that failed, page by page, and what they failed of."""

from __future__ import annotations

import asyncio
from typing import Any

from polybatch.v1 import results_pb2

from services.web.client_parts import methods
from services.web.dashboard.pages import Visit
from services.web.dashboard.shown import BatchView
from services.web.upstream import Engine

_SHOWN = 50
_MOST_PAGES = 5


async def failures(visit: Visit, view: BatchView) -> dict[str, Any]:
    """A page of the lines that failed, and the causes; empty before the end of a batch."""
    if not view.has_failures:
        return {"failures": [], "next_failures": "", "causes": None, "cause": ""}
    query = visit.request.query_params
    cause = query.get("cause", "")
    (lines, more), causes = await asyncio.gather(
        _page(visit.engine, view.id, cause, query.get("failures", "")),
        causes_of(visit.engine, view.id),
    )
    return {
        "failures": lines,
        "next_failures": more,
        "causes": causes,
        "cause": cause,
    }


async def _page(
    engine: Engine, batch_id: str, cause: str, token: str
) -> tuple[list[results_pb2.LineFailure], str]:
    """Lines, and the token of what comes next; of a rare cause a page of the engine has few."""
    found: list[results_pb2.LineFailure] = []
    for _ in range(_MOST_PAGES):
        request = results_pb2.ListFailuresRequest(
            batch_id=batch_id, page_size=_SHOWN, page_token=token, cause_id=cause
        )
        answer = await engine.call(methods.LIST_FAILURES, request)
        found += answer.failures
        token = answer.next_page_token
        if not token or len(found) >= _SHOWN:
            break
    return found, token


async def causes_of(engine: Engine, batch_id: str) -> results_pb2.ListFailureCausesResponse:
    """The causes of an ended batch, the most frequent first."""
    request = results_pb2.ListFailureCausesRequest(batch_id=batch_id)
    found: results_pb2.ListFailureCausesResponse = await engine.call(
        methods.LIST_FAILURE_CAUSES, request
    )
    return found

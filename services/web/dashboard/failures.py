"""Lines that failed, page by page, and what they failed of."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from polybatch._transport import methods
from polybatch.errors import PolybatchError
from polybatch.v1 import results_pb2

from services.web.dashboard.pages import Visit
from services.web.dashboard.shown import BatchView
from services.web.upstream import Engine

_SHOWN = 50
# Causes are counted over so many of the lines that failed, where the engine does not count them.
_GROUPED = 1000


async def failures(visit: Visit, view: BatchView) -> dict[str, Any]:
    """A page of the lines that failed, and the causes; empty before the end of a batch."""
    if not view.has_results or not view.failed:
        return {"failures": [], "next_failures": "", "causes": None, "cause": ""}
    query = visit.request.query_params
    cause = query.get("cause", "")
    request = results_pb2.ListFailuresRequest(
        batch_id=view.id, page_size=_SHOWN, page_token=query.get("failures", ""), cause_id=cause
    )
    shown, causes = await asyncio.gather(
        visit.engine.call(methods.LIST_FAILURES, request), causes_of(visit.engine, view.id)
    )
    return {
        "failures": list(shown.failures),
        "next_failures": shown.next_page_token,
        "causes": causes,
        "cause": cause,
    }


async def causes_of(engine: Engine, batch_id: str) -> results_pb2.ListFailureCausesResponse:
    """The causes of an ended batch, the most frequent first."""
    request = results_pb2.ListFailureCausesRequest(batch_id=batch_id)
    try:
        found: results_pb2.ListFailureCausesResponse = await engine.call(
            methods.LIST_FAILURE_CAUSES, request
        )
    except PolybatchError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        return await _counted(engine, batch_id)
    return found


async def _counted(engine: Engine, batch_id: str) -> results_pb2.ListFailureCausesResponse:
    """By code alone, and of the first lines."""
    first = await engine.call(
        methods.LIST_FAILURES,
        results_pb2.ListFailuresRequest(batch_id=batch_id, page_size=_GROUPED),
    )
    lines = Counter(each.code for each in first.failures)
    messages = {each.code: each.message for each in reversed(first.failures)}
    total = len(first.failures)
    return results_pb2.ListFailureCausesResponse(
        causes=[
            results_pb2.FailureCause(
                code=code, message=messages[code], line_count=count, share=count / total
            )
            for code, count in lines.most_common()
        ],
        failure_count=total,
    )

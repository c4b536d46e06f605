"""Usage, keys and providers: what the caller's account has and spends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from google.type.date_pb2 import Date  # type: ignore[import-untyped]
from polybatch.errors import PermissionDenied
from polybatch.v1 import accounts_pb2, providers_pb2, usage_pb2
from starlette.responses import Response

from services.web.client_parts import account_methods, methods
from services.web.dashboard.charts import Bars, stacked_bars
from services.web.dashboard.pages import Visit, redirect
from services.web.dashboard.recent_batches import read_recent
from services.web.dashboard.shown import amount
from services.web.errors import HttpError

_SPANS = {"7": 7, "30": 30, "90": 90}
_GROUPS = {
    "model": usage_pb2.USAGE_GROUP_MODEL,
    "key": usage_pb2.USAGE_GROUP_KEY,
    "provider": usage_pb2.USAGE_GROUP_PROVIDER,
}


async def usage(visit: Visit) -> Response:
    """GET /usage."""
    query = visit.request.query_params
    days = _SPANS.get(query.get("days", ""), 30)
    group = query.get("by", "") if query.get("by", "") in _GROUPS else "model"
    last = datetime.now(UTC).date()
    first = last - timedelta(days=days - 1)
    by_day, total = await _rows(visit, first, last, _GROUPS[group], day=True)
    rows, _ = await _rows(visit, first, last, _GROUPS[group], day=False)
    rows.sort(key=lambda row: (amount(row.cost), row.usage.total_tokens), reverse=True)
    order = [_name(row, group) for row in rows]
    own = await visit.engine.call(
        account_methods.GET_CURRENT_KEY, accounts_pb2.GetCurrentKeyRequest()
    )
    return visit.page(
        "usage.html",
        days=days,
        spans=list(_SPANS.values()),
        group=group,
        groups=list(_GROUPS),
        rows=[(_name(row, group), row, amount(row.cost)) for row in rows],
        total=total,
        cost_chart=_chart(by_day, group, first, days, order, lambda row: amount(row.cost)),
        token_chart=_chart(
            by_day, group, first, days, order, lambda row: Decimal(row.usage.total_tokens)
        ),
        own=own,
        recent=await read_recent(visit.engine, first),
    )


async def keys(visit: Visit) -> Response:
    """GET /keys."""
    own = await visit.engine.call(
        account_methods.GET_CURRENT_KEY, accounts_pb2.GetCurrentKeyRequest()
    )
    found, allowed = [own.key], True
    try:
        answer = await visit.engine.call(
            account_methods.LIST_KEYS, accounts_pb2.ListKeysRequest(page_size=1000)
        )
        found = list(answer.keys)
    except PermissionDenied:
        allowed = False
    return visit.page("keys.html", keys=found, own=own, allowed=allowed)


async def confirm_revoke(visit: Visit) -> Response:
    """GET /keys/{key_id}/revoke."""
    answer = await visit.engine.call(
        account_methods.LIST_KEYS, accounts_pb2.ListKeysRequest(page_size=1000)
    )
    key_id = visit.request.path_params["key_id"]
    for key in answer.keys:
        if key.id == key_id:
            return visit.page("revoke.html", key=key, name=key.name or key.id)
    raise HttpError.not_found("key", key_id)


async def revoke(visit: Visit) -> Response:
    """POST /keys/{key_id}/revoke. With the caller's own key the session ends."""
    await visit.form()
    await visit.engine.call(
        account_methods.REVOKE_KEY,
        accounts_pb2.RevokeKeyRequest(key_id=visit.request.path_params["key_id"]),
    )
    return redirect("/keys")


async def providers(visit: Visit) -> Response:
    """GET /providers."""
    answer = await visit.engine.call(methods.LIST_PROVIDERS, providers_pb2.ListProvidersRequest())
    found = sorted(answer.providers, key=lambda each: (not each.configured, each.name))
    return visit.page("providers.html", providers=found)


async def _rows(
    visit: Visit, first: date, last: date, group: Any, *, day: bool
) -> tuple[list[Any], Any]:
    """All rows by a group, of each day or of all days; and their total."""
    request = usage_pb2.GetUsageRequest(group_by=[group], page_size=2000)
    if day:
        request.group_by.insert(0, usage_pb2.USAGE_GROUP_DAY)
    getattr(request, "from").CopyFrom(_date(first))
    request.to.CopyFrom(_date(last))
    rows: list[Any] = []
    while True:
        answer = await visit.engine.call(account_methods.GET_USAGE, request)
        rows += answer.entries
        request.page_token = answer.next_page_token
        if not request.page_token:
            return rows, answer.total


def _chart(
    rows: list[Any], group: str, first: date, days: int, order: list[str], value: Any
) -> Bars:
    cells: dict[tuple[str, int], Decimal] = {}
    for row in rows:
        day = date(row.day.year, row.day.month, row.day.day)
        place = (_name(row, group), (day - first).days)
        cells[place] = cells.get(place, Decimal(0)) + value(row)
    labels = [first + timedelta(days=number) for number in range(days)]
    return stacked_bars(cells, labels, order)


def _name(row: Any, group: str) -> str:
    if group == "key":
        return row.key_name or row.key_id or "before keys were kept"
    if group == "provider":
        return str(row.provider)
    return str(row.model)


def _date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)

"""UsageService of polybatch.v1: what was used and charged, by groups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date
from typing import Any

import grpc
from google.type.date_pb2 import Date  # type: ignore[import-untyped]
from polybatch.v1 import batches_pb2, usage_pb2, usage_pb2_grpc

from core.ledger import Ledger, Scope, UsageAsked, UsageGroup, UsageSum, now
from core.pipeline import outages
from core.pipeline.messages import money
from core.serving import current_principal, require_scope
from core.serving.paging import bad_page_token, parse_values_token, values_token
from services.gateway.account_fields import ALL_ACCOUNTS, Checked, named_account

Context = grpc.aio.ServicerContext[Any, Any]

_DEFAULT_PAGE = 1000
_MAX_PAGE = 2000
"""Names may be long: more could exceed a message."""

_GROUPS = {
    usage_pb2.USAGE_GROUP_DAY: UsageGroup.DAY,
    usage_pb2.USAGE_GROUP_MONTH: UsageGroup.MONTH,
    usage_pb2.USAGE_GROUP_ACCOUNT: UsageGroup.ACCOUNT,
    usage_pb2.USAGE_GROUP_KEY: UsageGroup.KEY,
    usage_pb2.USAGE_GROUP_PROVIDER: UsageGroup.PROVIDER,
    usage_pb2.USAGE_GROUP_MODEL: UsageGroup.MODEL,
    usage_pb2.USAGE_GROUP_BATCH: UsageGroup.BATCH,
}
_FIELDS = {
    UsageGroup.MONTH: "month",
    UsageGroup.ACCOUNT: "account_id",
    UsageGroup.KEY: "key_id",
    UsageGroup.PROVIDER: "provider",
    UsageGroup.MODEL: "model",
    UsageGroup.BATCH: "batch_id",
}


class UsageServicer(usage_pb2_grpc.UsageServiceServicer):
    """Answers as the comments in usage.proto say."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def GetUsage(
        self, request: usage_pb2.GetUsageRequest, _context: Context
    ) -> usage_pb2.GetUsageResponse:
        caller, checked = current_principal(), Checked()
        today = now().astimezone(UTC).date()
        first = _day(checked, "from", request, today.replace(day=1))
        last = _day(checked, "to", request, today)
        if first > last and not checked.violations:
            checked.wrong("to", f"not before the first day ({first})")
        if any(group not in _GROUPS for group in request.group_by):
            checked.wrong("group_by", "groups of polybatch.v1.UsageGroup")
        elif len(set(request.group_by)) < len(request.group_by):
            checked.wrong("group_by", "each group at most once")
        checked.done()
        groups = [_GROUPS[group] for group in request.group_by]
        size = min(request.page_size, _MAX_PAGE) if request.page_size > 0 else _DEFAULT_PAGE
        after = parse_values_token(request.page_token, len(groups))
        with outages():
            asked = UsageAsked(
                first,
                last,
                await self._account_id(request.account),
                None if caller.scope.includes(Scope.ACCOUNT) else caller.key_id,
            )
            try:
                found = await self._ledger.usage.page(asked, groups, size + 1, after)
            except ValueError as error:
                # Of other groups.
                raise bad_page_token() from error
            total = await self._ledger.usage.total(asked)
            entries = await self._entries(groups, found[:size])
        return usage_pb2.GetUsageResponse(
            entries=entries,
            next_page_token=values_token(found[size - 1].group) if len(found) > size else "",
            total=_entry((), total),
        )

    async def _account_id(self, named: str) -> str | None:
        """Whose usage; None for all accounts."""
        if named == ALL_ACCOUNTS:
            require_scope(Scope.OPERATOR, "all accounts")
            return None
        return (await named_account(self._ledger.accounts, named)).id

    async def _entries(
        self, groups: Sequence[UsageGroup], found: Sequence[UsageSum]
    ) -> list[usage_pb2.UsageEntry]:
        accounts = self._ledger.accounts
        entries = [_entry(groups, each) for each in found]
        key_names = await accounts.key_names({each.key_id for each in entries if each.key_id})
        names = await accounts.names({each.account_id for each in entries if each.account_id})
        for entry in entries:
            entry.key_name = key_names.get(entry.key_id, "")
            entry.account_name = names.get(entry.account_id, "")
        return entries


def _day(checked: Checked, field: str, request: usage_pb2.GetUsageRequest, otherwise: date) -> date:
    # "from" is a word of Python's own.
    if not request.HasField(field):
        return otherwise
    asked = getattr(request, field)
    try:
        return date(asked.year, asked.month, asked.day)
    except ValueError:
        checked.wrong(field, "a whole date, such as 2026-11-28")
        return otherwise


def _entry(groups: Sequence[UsageGroup], found: UsageSum) -> usage_pb2.UsageEntry:
    entry = usage_pb2.UsageEntry(
        line_count=found.lines,
        unpriced_line_count=found.unpriced_lines,
        usage=batches_pb2.Usage(
            input_tokens=found.input_tokens,
            cached_input_tokens=found.cached_input_tokens,
            cache_write_tokens=found.cache_write_tokens,
            output_tokens=found.output_tokens,
            reasoning_tokens=found.reasoning_tokens,
            total_tokens=found.input_tokens + found.output_tokens,
        ),
        cost=money(found.cost_nanos),
        late_cost=money(found.late_nanos),
    )
    for group, value in zip(groups, found.group, strict=True):
        if group is UsageGroup.DAY:
            day = date.fromisoformat(value)
            entry.day.CopyFrom(Date(year=day.year, month=day.month, day=day.day))
        else:
            setattr(entry, _FIELDS[group], value)
    return entry

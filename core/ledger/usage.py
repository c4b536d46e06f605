"""What was used and charged, summed up by groups, in SQL and page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import case, func
from sqlmodel import col

from core.ledger.database import Database
from core.ledger.tables import UsageRow


class UsageGroup(StrEnum):
    """What usage is summed up by."""

    DAY = "day"
    MONTH = "month"
    ACCOUNT = "account"
    KEY = "key"
    PROVIDER = "provider"
    MODEL = "model"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class UsageAsked:
    """Which usage."""

    first: date
    last: date
    """Days in UTC, both included."""
    account_id: str | None
    """None: of all accounts."""
    key_id: str | None = None
    """None: of all keys."""


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Usage of one value of each group. Money is in nano-dollars."""

    group: tuple[str, ...]
    """Values in the order of the groups; days and months as in ISO 8601."""
    lines: int
    """Answered, well or ill."""
    unpriced_lines: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nanos: int
    late_nanos: int
    """Of the cost, for answers that came after their batch had ended."""


class UsageReport:
    """Reads the rows that settled shards have left."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        asked: UsageAsked,
        groups: Sequence[UsageGroup],
        size: int,
        after: Sequence[str] | None = None,
    ) -> list[UsageSum]:
        """Sums in the order of the groups, from behind the `group` of the last one seen.

        Without groups: one sum of all, of zeros where there was nothing. Raises ValueError for
        an `after` that is no `group` of these groups.
        """
        columns = [self._column(group) for group in groups]
        query = sa.select(*columns, *_SUMS).where(
            col(UsageRow.day) >= asked.first, col(UsageRow.day) <= asked.last
        )
        if asked.account_id is not None:
            query = query.where(col(UsageRow.account_id) == asked.account_id)
        if asked.key_id is not None:
            query = query.where(col(UsageRow.key_id) == asked.key_id)
        if columns:
            query = query.group_by(*columns).order_by(*columns).limit(size)
        if after:
            values = [_value(*each) for each in zip(groups, after, strict=True)]
            query = query.where(sa.tuple_(*columns) > sa.tuple_(*map(sa.literal, values)))
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()  # type: ignore[call-overload]
        return [
            UsageSum(tuple(map(str, row[: len(groups)])), *map(int, row[len(groups) :]))
            for row in rows
        ]

    async def total(self, asked: UsageAsked) -> UsageSum:
        """The sum of all."""
        [found] = await self.page(asked, (), 1)
        return found

    def _column(self, group: UsageGroup) -> Any:
        day = col(UsageRow.day)
        if group is UsageGroup.DAY:
            return day
        if group is UsageGroup.MONTH:
            # Written out: as parameters they would make another expression at each place.
            if self._database.is_sqlite:
                return func.strftime(sa.literal_column("'%Y-%m'"), day)
            return func.to_char(day, sa.literal_column("'YYYY-MM'"))
        text = {
            UsageGroup.ACCOUNT: UsageRow.account_id,
            UsageGroup.KEY: UsageRow.key_id,
            UsageGroup.PROVIDER: UsageRow.provider,
            UsageGroup.MODEL: UsageRow.model,
            UsageGroup.BATCH: UsageRow.batch_id,
        }[group]
        # By bytes, as SQLite does: the same order everywhere, whatever the database's language.
        return col(text) if self._database.is_sqlite else col(text).collate("C")


def _value(group: UsageGroup, text: str) -> date | str:
    return date.fromisoformat(text) if group is UsageGroup.DAY else text


def _sum(value: Any) -> Any:
    return func.coalesce(func.sum(value), 0)


_SUMS = (
    _sum(UsageRow.lines),
    _sum(UsageRow.unpriced_lines),
    _sum(UsageRow.input_tokens),
    _sum(UsageRow.cached_input_tokens),
    _sum(UsageRow.cache_write_tokens),
    _sum(UsageRow.output_tokens),
    _sum(UsageRow.reasoning_tokens),
    _sum(UsageRow.cost_nanos),
    _sum(case((col(UsageRow.late), UsageRow.cost_nanos), else_=0)),
)

"""The usage report: sums that add up whatever the groups, and days that stay as they are."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta

import pytest

from core.ledger import Ledger, UsageAsked, UsageGroup, UsageRow, UsageSum
from tests.support.ledger.rows import add_rows, usage_row

NOVEMBER, DECEMBER = date(2026, 11, 1), date(2026, 12, 31)
VALUES = {
    UsageGroup.DAY: lambda row: row.day.isoformat(),
    UsageGroup.MONTH: lambda row: f"{row.day:%Y-%m}",
    UsageGroup.ACCOUNT: lambda row: row.account_id,
    UsageGroup.KEY: lambda row: row.key_id,
    UsageGroup.PROVIDER: lambda row: row.provider,
    UsageGroup.MODEL: lambda row: row.model,
    UsageGroup.BATCH: lambda row: row.batch_id,
}


def some_rows() -> list[UsageRow]:
    """Of two accounts, three keys (one of them from before keys were kept), two months."""
    kinds = itertools.product(
        (("acct_a", "key_a"), ("acct_a", ""), ("acct_b", "key_b")),
        # By bytes, "_" and capitals come before small letters; by a language they do not.
        ("openai/gpt-4.1", "Zeta", "alpha", "_beta", "ä"),
        (0, 29, 30, 31),
    )
    return [
        usage_row(
            NOVEMBER + timedelta(days=days),
            10**15 + number,
            account_id=account,
            key_id=key,
            model=model,
            batch_id=f"batch_{number % 7}",
            late=number % 3 == 0,
            unpriced_lines=number % 2,
        )
        for number, ((account, key), model, days) in enumerate(kinds)
    ]


def expected(rows: Sequence[UsageRow], groups: Sequence[UsageGroup]) -> list[tuple[object, ...]]:
    sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * 5)
    for row in rows:
        late = row.cost_nanos if row.late else 0
        numbers = (row.lines, row.unpriced_lines, row.input_tokens, row.cost_nanos, late)
        group = tuple(VALUES[each](row) for each in groups)
        sums[group] = [a + b for a, b in zip(sums[group], numbers, strict=True)]
    return [
        (group, *sums[group]) for group in sorted(sums, key=lambda g: [part.encode() for part in g])
    ]


def plain(found: Sequence[UsageSum]) -> list[tuple[object, ...]]:
    return [
        (
            *(each.group, each.lines, each.unpriced_lines),
            *(each.input_tokens, each.cost_nanos, each.late_nanos),
        )
        for each in found
    ]


@pytest.mark.parametrize(
    "groups",
    [
        (UsageGroup.DAY,),
        (UsageGroup.MONTH, UsageGroup.ACCOUNT),
        (UsageGroup.MODEL, UsageGroup.DAY),
        (UsageGroup.KEY, UsageGroup.BATCH, UsageGroup.MONTH),
        tuple(UsageGroup),
    ],
)
async def test_pages_add_up_to_all(ledger: Ledger, groups: tuple[UsageGroup, ...]) -> None:
    rows = some_rows()
    await add_rows(ledger, *rows)
    rows = [row for row in rows if row.day != NOVEMBER]
    asked = UsageAsked(NOVEMBER + timedelta(days=1), DECEMBER, None)
    for size in (1, 4, 1000):
        found: list[UsageSum] = []
        while page := await ledger.usage.page(
            asked, groups, size, found[-1].group if found else None
        ):
            assert len(page) <= size
            found += page
        assert plain(found) == expected(rows, groups)
    assert plain([await ledger.usage.total(asked)]) == expected(rows, ())


async def test_one_account_or_one_key(ledger: Ledger) -> None:
    rows = some_rows()
    await add_rows(ledger, *rows)
    for account, key in (("acct_a", None), ("acct_a", "key_a"), ("acct_b", "key_a")):
        theirs = [row for row in rows if row.account_id == account and key in (None, row.key_id)]
        total = await ledger.usage.total(UsageAsked(NOVEMBER, DECEMBER, account, key))
        assert total.cost_nanos == sum(row.cost_nanos for row in theirs)


async def test_days_that_have_passed_stay_as_they_are(ledger: Ledger) -> None:
    """What comes late is of the day on which it came, and marked."""
    await add_rows(ledger, usage_row(NOVEMBER, 5), usage_row(NOVEMBER, 7))
    groups = (UsageGroup.MONTH, UsageGroup.BATCH)
    november = UsageAsked(NOVEMBER, date(2026, 11, 30), "acct_a")
    before = await ledger.usage.page(november, groups, 10)
    await add_rows(ledger, usage_row(date(2026, 12, 1), 11, late=True))
    assert await ledger.usage.page(november, groups, 10) == before
    both = await ledger.usage.page(UsageAsked(NOVEMBER, DECEMBER, "acct_a"), groups, 10)
    assert [(each.group, each.cost_nanos, each.late_nanos) for each in both] == [
        (("2026-11", "batch_a"), 12, 0),
        (("2026-12", "batch_a"), 11, 11),
    ]

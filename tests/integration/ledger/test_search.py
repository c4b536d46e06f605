"""Finding batches: conditions, in the order of lists, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.ledger import Batch, BatchState, Ledger
from core.ledger.batch_search import (
    Condition,
    Created,
    HasTerm,
    InState,
    IsRetry,
    Kind,
    NameContains,
)
from tests.support.ledger.rows import batch_row, file_row

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
ACCOUNT = "acct_a"


@pytest.fixture
async def found(ledger: Ledger) -> Ledger:
    """Ten batches a minute apart, named by their number, and one of another account."""
    files = [
        await ledger.files.finish_upload(
            file_row(
                account_id=ACCOUNT,
                groups=[{"provider": "openai", "model": model, "lines": 1, "bytes": 1}],
            )
        )
        for model in ("gpt-x", "openai/gpt-y")
    ]
    for n in range(10):
        row = batch_row(
            files[n % 2],
            at=BEGAN + timedelta(minutes=n),
            name=f"Größe {n}%" if n < 5 else "",
            details={"team": "search" if n % 3 else "ads"},
            key_id=f"key_{n // 5}",
            parent_id="batch_p" if n == 9 else "",
            state=BatchState.FAILED if n == 4 else BatchState.IN_PROGRESS,
        )
        row.total = n
        assert isinstance(await ledger.batches.create(row), Batch)
    other = await ledger.files.finish_upload(
        file_row(account_id="acct_b", groups=[{"provider": "openai", "model": "gpt-x", "lines": 1}])
    )
    await ledger.batches.create(batch_row(other, details={"team": "search"}, name="Größe 1%"))
    return ledger


def has(kind: Kind, first: str, second: str = "", *, negated: bool = False) -> HasTerm:
    return HasTerm(kind, first, second, negated)


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ([], range(10)),
        ([has(Kind.MODEL, "gpt-x")], [0, 2, 4, 6, 8]),
        ([has(Kind.MODEL, "openai/gpt-x")], [0, 2, 4, 6, 8]),
        ([has(Kind.MODEL, "gpt-y"), has(Kind.KEY, "key_1")], [5, 7, 9]),
        ([has(Kind.MODEL, "gpt-y", negated=True)], [0, 2, 4, 6, 8]),
        ([has(Kind.METADATA, "team", "ads")], [0, 3, 6, 9]),
        ([has(Kind.METADATA, "team", "ads", negated=True), has(Kind.KEY, "key_0")], [1, 2, 4]),
        ([has(Kind.METADATA, "teams", "ads")], []),
        ([has(Kind.NAME, "Größe 1%")], [1]),
        ([NameContains("GRÖSSE 1%")], [1]),
        ([NameContains("%")], range(5)),
        ([NameContains("1_")], []),
        ([InState(BatchState.FAILED)], [4]),
        ([InState(BatchState.FAILED), InState(BatchState.COMPLETED)], []),
        ([InState(BatchState.FAILED, negated=True), NameContains("größe")], range(4)),
        ([has(Kind.PARENT, "batch_p")], [9]),
        ([IsRetry(True)], [9]),
        ([IsRetry(False), has(Kind.KEY, "key_1")], [5, 6, 7, 8]),
        (
            [
                Created(">=", BEGAN + timedelta(minutes=3)),
                Created("<", BEGAN + timedelta(minutes=5)),
            ],
            [3, 4],
        ),
        ([has(Kind.MODEL, "gpt-x"), Created(">", BEGAN + timedelta(minutes=4))], [6, 8]),
    ],
)
async def test_what_meets_all_conditions(
    found: Ledger, conditions: list[Condition], numbers: list[int]
) -> None:
    newest_first = await found.batches.page(ACCOUNT, 100, None, (), conditions)
    assert [batch.total for batch in newest_first] == sorted(numbers, reverse=True)
    # In pages of two, the other way round.
    shown: list[int] = []
    after = None
    while page := await found.batches.page(ACCOUNT, 2, after, (), conditions, oldest_first=True):
        shown += [batch.total for batch in page]
        after = (page[-1].created_at, page[-1].id)
    assert shown == sorted(numbers)


async def test_states_and_conditions_go_together(found: Ledger) -> None:
    page = await found.batches.page(
        ACCOUNT, 100, None, [BatchState.FAILED], [has(Kind.MODEL, "gpt-x")]
    )
    assert [batch.total for batch in page] == [4]
    both = [BatchState.FAILED, BatchState.IN_PROGRESS]
    shown = await found.batches.page(ACCOUNT, 3, (BEGAN + timedelta(minutes=6), "~"), both)
    assert [batch.total for batch in shown] == [6, 5, 4]

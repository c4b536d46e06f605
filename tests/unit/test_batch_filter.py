"""The filter of ListBatches: what it takes, and what it says of what it does not take."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.ledger import BatchState
from core.ledger.batch_search import (
    Condition,
    Created,
    HasTerm,
    InState,
    IsRetry,
    Kind,
    NameContains,
)
from core.serving import ApiError
from services.gateway.batch_filter import parse_filter

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("", []),
        ("  state=COMPLETED ", [InState(BatchState.COMPLETED)]),
        ("state != batch_state_failed", [InState(BatchState.FAILED, negated=True)]),
        ("name:nightly", [NameContains("nightly")]),
        ('name = "a \\"b\\" AND c"', [HasTerm(Kind.NAME, 'a "b" AND c')]),
        (
            "model=gpt-4.1 AND key = key_1",
            [
                HasTerm(Kind.MODEL, "gpt-4.1"),
                HasTerm(Kind.KEY, "key_1"),
            ],
        ),
        ("metadata.team.x = search", [HasTerm(Kind.METADATA, "team.x", "search")]),
        ('metadata."a b" != ""', [HasTerm(Kind.METADATA, "a b", "", negated=True)]),
        ("parent = batch_1", [HasTerm(Kind.PARENT, "batch_1")]),
        ('parent != ""', [IsRetry(True)]),
        ("create_time >= 2026-11-28T12:00:00Z", [Created(">=", NOON)]),
        ("create_time < '2026-11-28T14:00:00+02:00'", [Created("<", NOON)]),
    ],
)
def test_what_is_taken(text: str, conditions: list[Condition]) -> None:
    assert parse_filter(text) == conditions


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("state", "expected = or != behind state at the end, at character 6"),
        ("state =", "expected a value (in quotes if it has spaces or signs) at the end"),
        ("state = DONE", "expected one of VALIDATING, IN_PROGRESS"),
        ("state = DONE", "at character 9, not 'DONE'"),
        ("state < COMPLETED", "expected = or != behind state at character 7, not '<'"),
        ("state = FAILED OR name:x", "expected AND at character 16, not 'OR' (OR and NOT are not"),
        ("NOT state = FAILED", "not 'NOT' (NOT is not supported: use !=)"),
        ("(state = FAILED)", "expected state, name, model"),
        ("state = FAILED name:x", "expected AND at character 16, not 'name'"),
        ("nme:x", "at character 1, not 'nme'"),
        ("metadata = x", "expected a key behind metadata"),
        ('name = "x', 'the text that begins at character 8 has no closing "'),
        ("create_time > yesterday", "expected a time with its zone"),
        ("create_time > 2026-11-28T12:00:00", "expected a time with its zone"),
        ("create_time = '2026-11-28T12:00:00Z'", "expected < or <= or > or >= behind create_time"),
        ("name:" + "x" * 5000, "at most 4096 characters"),
        (" AND ".join(["name:x"] * 21), "at most 20 comparisons"),
        ("name:\0", "no U+0000"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_filter(text)
    assert refused.value.reason == "INVALID_FIELD"
    assert told in refused.value.message
    assert refused.value.message.startswith("filter: ")

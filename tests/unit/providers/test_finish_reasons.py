"""The table of finish reasons knows each that the vendors' types know."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from anthropic.types import StopReason
from anthropic.types.beta import BetaStopReason
from google.genai.types import FinishReason
from openai.types import CompletionChoice
from openai.types.chat.chat_completion import Choice
from openai.types.responses import ResponseStatus
from openai.types.responses.response import IncompleteDetails

from core.providers.finish_reasons import (
    ANTHROPIC,
    BROKEN,
    GEMINI,
    OPENAI,
    OPENAI_INCOMPLETE,
    OPENAI_RESPONSES,
)

OF_OPENAI = get_args(Choice.model_fields["finish_reason"].annotation)
AS_NONE = {"FINISH_REASON_UNSPECIFIED"}


def members(annotation: Any) -> set[str]:
    """The texts of a Literal, optional or not."""
    parts = get_args(annotation)
    texts = {part for part in parts if isinstance(part, str)}
    return texts.union(*(members(part) for part in parts if not isinstance(part, str)))


@pytest.mark.parametrize(
    ("vendors", "table"),
    [
        (members(StopReason) | members(BetaStopReason), ANTHROPIC.keys()),
        ({reason.value for reason in FinishReason} - AS_NONE, GEMINI.keys()),
        (members(ResponseStatus), OPENAI_RESPONSES.keys()),
        (members(IncompleteDetails.model_fields["reason"].annotation), OPENAI_INCOMPLETE.keys()),
    ],
    ids=["anthropic", "gemini", "responses", "incomplete"],
)
def test_the_tables_have_all_that_the_vendors_have(vendors: set[str], table: Any) -> None:
    assert vendors
    assert vendors == table


def test_openai_has_its_own_and_those_of_servers_in_its_form() -> None:
    theirs = set(OF_OPENAI) | members(CompletionChoice.model_fields["finish_reason"].annotation)
    assert len(theirs) > 3
    assert {reason: OPENAI[reason] for reason in theirs} == {reason: reason for reason in theirs}


def test_every_meaning_is_one_that_openai_knows_or_none_at_all() -> None:
    for table in (OPENAI, OPENAI_RESPONSES, OPENAI_INCOMPLETE, ANTHROPIC, GEMINI):
        assert set(table.values()) <= {*OF_OPENAI, BROKEN}


def test_the_documentation_has_every_reason() -> None:
    text = (Path(__file__).parents[3] / "docs/results.md").read_text()
    for table in (OPENAI, OPENAI_RESPONSES, ANTHROPIC, GEMINI):
        assert [reason for reason in table if f"`{reason}`" not in text] == []

"""Our translation of /v1/responses beside litellm's: every difference is explained."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest

from core.providers.anthropic.translation import read_line
from core.providers.contract import LineRejected
from core.providers.translation.report import Report
from core.providers.translation.responses import from_chat, to_chat
from tests.support.providers.chat_requests import encode
from tests.support.providers.grammar import Grammar
from tests.support.providers.responses_requests import as_responses
from tests.unit.differential.explained_responses import CHATS, REFUSALS, RESPONSES, Case
from tests.unit.differential.reference import Reference

SEED = 1106
REQUESTS = 3000
ANSWERS = 1000

EXTRAS: tuple[dict[str, Any], ...] = (
    {"instructions": "Be brief."},
    {"include": ["reasoning.encrypted_content"]},
    {"previous_response_id": "resp_1"},
    {"prompt": {"id": "pmpt_1"}},
    {"reasoning": {"summary": "detailed"}},
    {"text": {"format": {"type": "json_object"}}},
    {"text": {"format": {"type": "grammar"}}},
    {"text": {"verbosity": "low"}},
    {"tools": [{"type": "web_search"}]},
    {"top_logprobs": 2},
    {"truncation": "auto"},
    {"tool_choice": "required"},
)
"""What a chat completion has no words for."""


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


def explained(case: Case, functions: Sequence[Callable[[Case], None]], used: Counter[Any]) -> Any:
    """The differences that are left after all explanations; None where there is none."""
    for explain in functions:
        before = deepcopy((case.mine, case.theirs))
        explain(case)
        used[explain] += before != (case.mine, case.theirs)
    return {
        key: (case.mine.get(key), case.theirs.get(key))
        for key in case.mine.keys() | case.theirs.keys()
        if case.mine.get(key) != case.theirs.get(key)
    }


def test_requests(reference: Reference) -> None:
    grammar = Grammar(SEED)
    used: Counter[Any] = Counter()
    unexplained: list[Any] = []
    for _ in range(REQUESTS):
        body = as_responses(grammar.request()[1])
        if body is None:
            continue
        if grammar.often(0.2):
            body |= grammar.one(EXTRAS)
        try:
            mine = json.loads(to_chat(encode(body), Report()).body)
        except LineRejected as error:
            key = error.reason, re.sub(r"\[\d+\]", "[]", error.field)
            used[key] += 1
            if key not in REFUSALS:
                unexplained.append((key, body))
            continue
        used["sent"] += 1
        left = explained(Case(body, mine, reference.chat(body)), CHATS, used)
        if left:
            unexplained.append((left, body))
    assert unexplained == []
    assert used["sent"] > REQUESTS / 4
    entries = (*REFUSALS, *CHATS)
    assert [getattr(entry, "__name__", entry) for entry in entries if not used[entry]] == []


# litellm's types use what pydantic warns of when it first sees it.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_answers(reference: Reference) -> None:
    grammar = Grammar(SEED)
    used: Counter[Any] = Counter()
    unexplained: list[Any] = []
    for _ in range(ANSWERS):
        row = {"custom_id": "c", "result": {"type": "succeeded", "message": grammar.answer()}}
        line = read_line(json.dumps(row).encode(), 1790000000)
        assert line.response is not None
        chat = json.loads(line.response)["body"]
        made = from_chat(encode(chat), "c")
        assert made is not None
        left = explained(Case(chat, json.loads(made), reference.response(chat)), RESPONSES, used)
        if left:
            unexplained.append((left, chat))
    assert unexplained == []
    assert [each.__name__ for each in RESPONSES if not used[each]] == []

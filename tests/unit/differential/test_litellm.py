"""Our translation beside litellm's, over a large made-up set: every difference is explained."""

from __future__ import annotations

import json
import re
from collections import Counter
from copy import deepcopy
from typing import Any, get_args

import pytest
from anthropic.types.model import Model as SdkModel

from core.providers.anthropic.translation import read_line, translate_request
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected
from tests.support.providers.chat_requests import encode
from tests.support.providers.grammar import Grammar
from tests.unit.differential.explained import ALIKE, PARAMS, REFUSALS, Case
from tests.unit.differential.explained_answers import ANSWERS_EXPLAINED, Answer
from tests.unit.differential.reference import Reference

SEED = 1106
REQUESTS = 8000
ANSWERS = 3000

_SCHEMA = re.compile(r"body\.(response_format|tools)\b.*\.(schema|parameters)\b")


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


def table_key(error: LineRejected) -> tuple[str, str]:
    field = "SCHEMA" if _SCHEMA.match(error.field) else re.sub(r"\[\d+\]", "[]", error.field)
    return error.reason, field


def in_blocks(params: dict[str, Any]) -> dict[str, Any]:
    """Texts as blocks, which is what a string stands for (the SDK's docs)."""
    params = deepcopy(params)
    for turn in params["messages"]:
        if isinstance(turn["content"], str):
            turn["content"] = [{"type": "text", "text": turn["content"]}]
    return params


def test_requests(reference: Reference) -> None:
    grammar = Grammar(SEED)
    used: Counter[object] = Counter()
    unexplained: list[tuple[object, ...]] = []
    for _ in range(REQUESTS):
        name, body = grammar.request()
        model = find_model("anthropic", name)
        try:
            mine = json.loads(translate_request(model, encode(body))[0])
        except LineRejected as error:
            used[table_key(error)] += 1
            if table_key(error) not in REFUSALS:
                unexplained.append((table_key(error), body))
            continue
        used["sent"] += 1
        alike = body
        for make_alike in ALIKE:
            before, alike = alike, make_alike(alike)
            used[make_alike] += alike != before
        case = Case(model, body, in_blocks(mine), in_blocks(reference.params(model.id, alike)))
        for explain in PARAMS:
            before = deepcopy((case.mine, case.theirs))
            explain(case)
            used[explain] += before != (case.mine, case.theirs)
        if case.mine != case.theirs:
            different = {
                key: (case.mine.get(key), case.theirs.get(key))
                for key in case.mine.keys() | case.theirs.keys()
                if case.mine.get(key) != case.theirs.get(key)
            }
            unexplained.append((different, body))
    assert unexplained == []
    assert used["sent"] > REQUESTS / 4
    # An entry that explains nothing any more has to go.
    entries = (*REFUSALS, *ALIKE, *PARAMS)
    assert [getattr(entry, "__name__", entry) for entry in entries if not used[entry]] == []


# litellm's types use what pydantic warns of when it first sees it.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_answers(reference: Reference) -> None:
    grammar = Grammar(SEED)
    used: Counter[object] = Counter()
    unexplained: list[tuple[object, ...]] = []
    for _ in range(ANSWERS):
        sent = grammar.answer()
        row = {"custom_id": "c", "result": {"type": "succeeded", "message": sent}}
        response = read_line(json.dumps(row).encode(), 0).response
        assert response is not None
        answer = Answer(sent, json.loads(response)["body"], reference.completion(sent))
        for explain in ANSWERS_EXPLAINED:
            before = deepcopy((answer.mine, answer.theirs))
            explain(answer)
            used[explain] += before != (answer.mine, answer.theirs)
        if answer.mine != answer.theirs:
            unexplained.append((sent, answer.mine, answer.theirs))
    assert unexplained == []
    assert [each.__name__ for each in ANSWERS_EXPLAINED if not used[each]] == []


def test_models(reference: Reference) -> None:
    """What litellm's model map says of Claude's models is what our catalogue says."""
    compared = 0
    for name in get_args(get_args(SdkModel)[0]):
        model = find_model("anthropic", name)
        known = reference.model(model.id)
        if not model.listed or known is None:
            continue
        compared += 1
        thinks = known.get("supports_adaptive_thinking", False)
        assert model.max_output == known["max_output_tokens"], name
        assert model.sampling == known.get("supports_sampling_params", True), name
        assert model.prefill == known.get("supports_assistant_prefill", False), name
        assert model.structured == known.get("supports_native_structured_output", False), name
        assert model.forced_tools == known.get("supports_forced_tool_use", True), name
        assert model.thinking == ("effort" if thinks else "budget"), name
        if thinks:
            for level in ("xhigh", "max"):
                says = known.get(f"supports_{level}_reasoning_effort", False)
                assert (level in model.efforts) == says, (name, level)
    assert compared > 15

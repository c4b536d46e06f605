"""Thousands of made-up requests and answers: the vendors' own types accept what comes out."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from anthropic.types.messages import MessageBatchIndividualResponse
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

from core.providers.anthropic.translation import check_translation, read_line, translate_request
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected, Outcome
from core.providers.gemini.request import translate_request as to_gemini
from services.sandbox.anthropic.lines import Params
from services.sandbox.gemini.lines import Generate
from tests.support.providers.chat_requests import encode
from tests.support.providers.grammar import HARMLESS, LOSSY, Grammar

SEED = 20261123
REQUESTS = 3000
ANSWERS = 3000

# Dropped by the SDK; models up to 4.6 take them under version 2023-06-01.
BESIDES = {
    name: {
        "type": "typed-dict-field",
        "required": False,
        "schema": {"type": "float", "ge": 0, "le": 1},
    }
    for name in ("temperature", "top_p")
}


def strictly(kind: Any, besides: dict[str, Any] | None = None) -> SchemaValidator:
    """A validator of an SDK's type that refuses unknown keys, at every depth.

    By itself pydantic lets the keys of TypedDicts pass, and reads iterables only when
    asked. `besides`: fields to add at the top.
    """

    def tighten(schema: Any) -> Any:
        if isinstance(schema, (list, tuple)):
            return type(schema)(map(tighten, schema))
        if not isinstance(schema, dict):
            return schema
        tight = {
            # A schema's own metadata are functions; a field may have this name as well.
            key: value
            if key == "metadata" and isinstance(schema.get("type"), str)
            else tighten(value)
            for key, value in schema.items()
        }
        if tight.get("type") == "typed-dict":
            # A schema of JSON is one: it has a config of its own.
            open_one = tight.get("config", {}).get("extra_fields_behavior") == "allow"
            tight["extra_behavior"] = "allow" if open_one else "forbid"
        elif tight.get("type") == "model":
            tight["config"] = tight.get("config", {}) | {"extra_fields_behavior": "forbid"}
        elif tight.get("type") == "generator":
            tight["type"] = "list"
        return tight

    tight = tighten(TypeAdapter(kind).core_schema)
    if besides:
        top = tight["schema"] if tight["type"] == "definitions" else tight
        top["fields"] |= besides
    return SchemaValidator(tight)


CHAT_REQUEST = strictly(CompletionCreateParamsNonStreaming)
PARAMS = strictly(MessageCreateParamsNonStreaming, BESIDES)


@pytest.fixture(scope="module")
def requests() -> list[tuple[str, dict[str, Any]]]:
    grammar = Grammar(SEED)
    return [grammar.request() for _ in range(REQUESTS)]


@pytest.mark.parametrize("lenient", [False, True])
def test_what_is_sent_is_taken_by_the_sandbox(
    requests: list[tuple[str, dict[str, Any]]], lenient: bool
) -> None:
    """It refuses what the providers are documented to refuse, so nothing of it is missed here."""
    taken: Counter[str] = Counter()
    for model, body in requests[:500]:
        with suppress(LineRejected):
            params, _ = translate_request(
                find_model("anthropic", model), encode(body), lenient=lenient
            )
            message = msgspec.json.decode(params, type=Params)
            assert message.problem("2023-06-01") is None, body
            taken["anthropic"] += 1
        with suppress(LineRejected):
            request, _ = to_gemini("gemini-3.8-flash", encode(body), lenient=lenient)
            generate = msgspec.json.decode(request, type=Generate)
            assert not generate.problem("gemini-3.8-flash"), body
            taken["gemini"] += 1
    assert min(taken["anthropic"], taken["gemini"]) > 50


@pytest.mark.parametrize(
    "more",
    [
        {"surprise": 1},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "odd": 1}]}]},
        {"messages": [{"role": "user", "content": "x", "odd": 1}]},
    ],
)
def test_the_validators_refuse_unknown_keys(more: dict[str, Any]) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    for validator in (CHAT_REQUEST, PARAMS):
        validator.validate_python(body)
        with pytest.raises(ValueError, match="xtra"):
            validator.validate_python(body | more)


@pytest.mark.long
def test_requests(requests: list[tuple[str, dict[str, Any]]]) -> None:
    seen: Counter[str] = Counter()
    for name, body in requests:
        CHAT_REQUEST.validate_python(body)
        model = find_model("anthropic", name)
        encoded = encode(body)
        notes = check_translation(model, encoded)
        weights = {note.weight for note in notes}
        for lenient in (False, True):
            reasons = {"refused"} if lenient else {"refused", "lost"}
            if weights & reasons:
                with pytest.raises(LineRejected) as caught:
                    translate_request(model, encoded, lenient=lenient)
                error = caught.value
                seen[error.reason] += 1
                blamed = [(n.field, n.reason) for n in notes if n.weight in reasons]
                assert (error.field, error.reason) in blamed
                continue
            params, told = translate_request(model, encoded, lenient=lenient)
            assert list(told) == list(notes)
            assert b"\n" not in params
            PARAMS.validate_json(params)
            seen["lenient" if lenient else "strict"] += 1
        for note in notes:
            seen[f"{note.weight} {note.field.partition('[')[0]}"] += 1
    # The set is worth something: most pass, and everything comes up.
    assert seen["strict"] > REQUESTS / 4
    assert seen["lenient"] > REQUESTS / 2
    assert {key for key in HARMLESS if not seen[f"harmless body.{key}"]} == set()
    assert {key for key in LOSSY if not seen[f"lost body.{key}"]} == set()
    reasons = {
        "empty_content",
        "first_message_not_user",
        "invalid_arguments",
        "missing_tools",
        "tool_call_without_result",
        "unsupported_content",
        "unsupported_file_id",
        "unsupported_parameter",
        "unsupported_prefill",
        "unsupported_schema",
        "unsupported_tool",
        "unsupported_url",
        "unsupported_value",
    }
    assert {reason for reason in reasons if not seen[reason]} == set()


def test_answers() -> None:
    grammar = Grammar(SEED)
    for _ in range(ANSWERS):
        sent = grammar.answer()
        row = {"custom_id": "s-t-1", "result": {"type": "succeeded", "message": sent}}
        MessageBatchIndividualResponse.model_validate(row)
        line = read_line(json.dumps(row).encode(), 1790000000)
        assert (line.outcome, line.error) == (Outcome.SUCCEEDED, None)
        assert line.response is not None
        ChatCompletion.model_validate(json.loads(line.response)["body"], strict=True)

"""/v1/responses at the providers: the same as chat completions, in the words of the request."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

import pytest

from core.providers.anthropic.translation import check_translation, translate_request
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected
from core.providers.gemini.request import check_request
from core.providers.gemini.request import translate_request as translate_for_gemini
from core.providers.translation.report import CHANGED, FILLED_IN, Report
from core.providers.translation.responses import (
    ANY_MODEL,
    check_through_chat,
    through_chat,
    to_chat,
)
from core.providers.translation.responses.fast_path import surely_passes
from tests.support.providers.chat_requests import encode
from tests.support.providers.grammar import Grammar
from tests.support.providers.responses_requests import (
    ASKED,
    CALL,
    OUTPUT,
    SONNET,
    TOOL,
    as_responses,
    request,
    resolves,
)

# What the provider's own translation says, in the words of the Responses request.
SAID: dict[str, tuple[dict[str, Any], str, str]] = {
    "limit": ({"max_output_tokens": 10**6}, "body.max_output_tokens", "unsupported_value"),
    "temperature": ({"temperature": 1.5}, "body.temperature", "unsupported_value"),
    "effort": ({"reasoning": {"effort": "silly"}}, "body.reasoning.effort", "wrong_type"),
    "verbosity": ({"text": {"verbosity": "low"}}, "body.text.verbosity", "unsupported_parameter"),
    "json_object": (
        {"text": {"format": {"type": "json_object"}}},
        "body.text.format.type",
        "unsupported_parameter",
    ),
    "schema": (
        {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "n",
                    "schema": {
                        "type": "object",
                        "properties": {"a": {"type": "string", "minLength": 3}},
                        "additionalProperties": False,
                    },
                }
            }
        },
        "body.text.format.schema.properties.a.minLength",
        "unsupported_schema",
    ),
    "tool": (
        {"tools": [TOOL | {"name": "no name"}]},
        "body.tools[0].name",
        "unsupported_value",
    ),
    "image": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}]},
        "body.input[0].content[0].image_url",
        "unsupported_url",
    ),
    "file": (
        {
            "input": [
                ASKED,
                {"role": "user", "content": [{"type": "input_file", "file_data": "x"}]},
            ],
            "instructions": "x",
        },
        "body.input[1].content[0].file_data",
        "unsupported_url",
    ),
    "arguments": (
        {"input": [ASKED, CALL | {"arguments": "[1]"}, OUTPUT]},
        "body.input[1].arguments",
        "invalid_arguments",
    ),
    "call without output": (
        {"input": [ASKED, CALL, ASKED]},
        "body.input[1]",
        "tool_call_without_result",
    ),
    "output without call": (
        {"input": [ASKED, OUTPUT]},
        "body.input[1].call_id",
        "tool_result_without_call",
    ),
    "call first": ({"input": [CALL, OUTPUT]}, "body.input[0]", "first_message_not_user"),
    "instructions alone": (
        {"input": [{"role": "system", "content": "x"}]},
        "body.input",
        "missing_user_message",
    ),
    "empty text": (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": " "}]}]},
        "body.input[0].content[0]",
        "empty_content",
    ),
}


@pytest.mark.parametrize(("fields", "path", "reason"), SAID.values(), ids=SAID)
def test_a_provider_speaks_of_the_body_that_was_written(
    fields: dict[str, Any], path: str, reason: str
) -> None:
    with pytest.raises(LineRejected) as caught:
        through_chat(partial(translate_request, SONNET), encode(request(**fields)), lenient=False)
    assert (caught.value.field, caught.value.reason) == (path, reason)
    assert "messages[" not in caught.value.message
    check = partial(check_translation, SONNET)
    notes = check_through_chat(check, encode(request(**fields)), model=SONNET)
    assert (path, reason) in [(note.field, note.reason) for note in notes]


PLAIN: dict[str, tuple[dict[str, Any], bool]] = {
    "a text": ({}, True),
    "instructions": ({"instructions": "x", "temperature": 0.5}, True),
    "messages": ({"input": [ASKED | {"type": "message"}]}, True),
    "no limit": ({"max_output_tokens": None}, False),
    "too much": ({"max_output_tokens": 10**6}, False),
    "hot": ({"temperature": 1.5}, False),
    "blank": ({"input": " "}, False),
    "parts": ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, False),
    "answer first": ({"input": [{"role": "assistant", "content": "x"}, ASKED]}, False),
    "more": ({"user": "u"}, False),
}


@pytest.mark.parametrize(("fields", "plain"), PLAIN.values(), ids=PLAIN)
def test_the_common_request_is_told_at_once(fields: dict[str, Any], plain: bool) -> None:
    body = encode({key: value for key, value in request(**fields).items() if value is not None})
    assert surely_passes(SONNET, body) == plain
    if plain:
        check = partial(check_translation, SONNET)
        chat = to_chat(body, report := Report(lenient=True))
        assert [*report.notes, *check(chat.body)] == []


def outcome(translate: Any, body: dict[str, Any]) -> tuple[str, bytes]:
    try:
        return "", translate(encode(body))[0]
    except LineRejected as error:
        return error.reason, b""


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_generated_requests_mean_the_same_as_chat_completions(provider: str) -> None:
    """Said in either way, a request becomes the same; what is said of it leads into its body."""
    grammar = Grammar(20261128)
    used: Counter[str] = Counter()
    for _ in range(1500):
        name, chat = grammar.request()
        body = as_responses(chat)
        if body is None:
            continue
        model = find_model("anthropic", name)
        translate: Any = partial(translate_request, model)
        check: Any = partial(check_translation, model)
        if provider == "gemini":
            translate = partial(translate_for_gemini, "gemini-3.8-flash")
            check = partial(check_request, "gemini-3.8-flash")
        same = outcome(translate, chat)
        send = partial(through_chat, translate, lenient=False, passes_user=provider == "anthropic")
        through = outcome(send, body)
        # Of several faults the one that is told may be another.
        assert (bool(through[0]), _read(through[1])) == (bool(same[0]), _read(same[1])), body
        used["refused" if same[0] else "sent"] += 1
        used["for one reason"] += bool(same[0]) and through[0] == same[0]
        known = model if provider == "anthropic" else ANY_MODEL
        for note in check_through_chat(check, encode(body), model=known):
            if (note.field, note.reason) == ("body.tools", CHANGED):
                # Of functions that were called before: there are no tools.
                continue
            missing = note.reason == FILLED_IN or note.weight == "refused"
            parent = note.field.rpartition(".")[0] if missing else note.field
            assert resolves(body, parent), (note, body)
    assert min(used["sent"], used["refused"]) > 100
    assert used["for one reason"] > 0.9 * used["refused"]


def _read(made: bytes) -> Any:
    return json.loads(made) if made else None

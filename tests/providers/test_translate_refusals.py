"""What cannot be translated: refused with its field, or told when lenient."""

from __future__ import annotations

from typing import Any

import pytest

from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.translation import check_translation, translate_request
from tests.providers.chat_requests import (
    ALWAYS,
    NEW_SONNET,
    OPUS_46,
    PLAIN,
    SONNET,
    UNKNOWN,
    WEATHER,
    assistant,
    encode,
    request,
    translate,
    user,
)

LOST: list[tuple[Model, dict[str, Any], str, str]] = [
    *(
        (SONNET, {name: value}, f"body.{name}", "unsupported_parameter")
        for name, value in {
            "n": 2,
            "logprobs": True,
            "top_logprobs": 3,
            "logit_bias": {"1": 2},
            "frequency_penalty": 0.1,
            "presence_penalty": -1,
            "audio": {"voice": "x"},
            "modalities": ["text", "audio"],
            "prediction": {"type": "content"},
            "functions": [],
            "function_call": "auto",
            "web_search_options": {},
            "stream": True,
            "stream_options": {"include_usage": True},
            "verbosity": "low",
            "top_k": 5,
            "surprise": 1,
        }.items()
    ),
    (SONNET, {"temperature": 1.5}, "body.temperature", "unsupported_value"),
    (NEW_SONNET, {"temperature": 0.5}, "body.temperature", "unsupported_parameter"),
    (NEW_SONNET, {"top_p": 0.5}, "body.top_p", "unsupported_parameter"),
    (SONNET, {"temperature": 0.5, "top_p": 0.5}, "body.top_p", "unsupported_parameter"),
    (
        SONNET,
        {"temperature": 0.5, "reasoning_effort": "low"},
        "body.temperature",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"response_format": {"type": "json_object"}},
        "body.response_format.type",
        "unsupported_parameter",
    ),
    (
        PLAIN,
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "body.response_format.json_schema",
        "unsupported_parameter",
    ),
    (
        PLAIN,
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
        "body.tools[0].function.strict",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"tools": [{"type": "function", "function": {"name": "f", "odd": 1}}]},
        "body.tools[0].function.odd",
        "unsupported_parameter",
    ),
    (ALWAYS, {"reasoning_effort": "none"}, "body.reasoning_effort", "unsupported_value"),
    (OPUS_46, {"reasoning_effort": "xhigh"}, "body.reasoning_effort", "unsupported_value"),
    (
        SONNET,
        {"reasoning_effort": "low", "max_tokens": 1024},
        "body.reasoning_effort",
        "unsupported_value",
    ),
    (
        SONNET,
        {"reasoning_effort": "low", "tools": [WEATHER], "tool_choice": "required"},
        "body.reasoning_effort",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"messages": [user() | {"name": "Ann"}]},
        "body.messages[0].name",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"messages": [user([{"type": "text", "text": "a", "cache_control": {}}])]},
        "body.messages[0].content[0].cache_control",
        "unsupported_parameter",
    ),
]


@pytest.mark.parametrize(("model", "options", "field", "reason"), LOST)
def test_what_would_be_lost_is_refused_or_told(
    model: Model, options: dict[str, Any], field: str, reason: str
) -> None:
    body = request() | options
    for strict in (translate_request, check_translation):
        with pytest.raises(LineRejected) as caught:
            strict(model, encode(body))
        assert (caught.value.field, caught.value.reason) == (field, reason)
        assert caught.value.message
    _, notes = translate(body, model, lenient=True)
    assert notes == [(field, reason)]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"max_tokens": 0}, "body.max_tokens", "wrong_type"),
    ({"max_tokens": 10.5}, "body.max_tokens", "wrong_type"),
    ({"max_completion_tokens": "10"}, "body.max_completion_tokens", "wrong_type"),
    ({"stop": ["a", " \n"]}, "body.stop[1]", "unsupported_value"),
    ({"stop": 5}, "body.stop", "wrong_type"),
    ({"temperature": "hot"}, "body.temperature", "wrong_type"),
    ({"temperature": -1}, "body.temperature", "wrong_type"),
    ({"top_p": 1.5}, "body.top_p", "wrong_type"),
    ({"user": 5}, "body.user", "wrong_type"),
    ({"tools": {}}, "body.tools", "wrong_type"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "body.tools[0].type", "unsupported_tool"),
    (
        {"tools": [{"type": "function", "function": {}}]},
        "body.tools[0].function.name",
        "missing_field",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "body.tools[0].function.parameters",
        "wrong_type",
    ),
    ({"tool_choice": "required"}, "body.tool_choice", "missing_tools"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}},
        "body.tool_choice",
        "unsupported_parameter",
    ),
    (
        {"response_format": {"type": "json_schema"}},
        "body.response_format.json_schema",
        "wrong_type",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
        "body.response_format.json_schema.schema",
        "wrong_type",
    ),
    ({"response_format": {}}, "body.response_format.type", "wrong_type"),
    ({"reasoning_effort": "enormous"}, "body.reasoning_effort", "wrong_type"),
]


@pytest.mark.parametrize(("options", "field", "reason"), REFUSED)
@pytest.mark.parametrize("lenient", [False, True])
def test_what_is_wrong_is_refused_always(
    options: dict[str, Any], field: str, reason: str, lenient: bool
) -> None:
    with pytest.raises(LineRejected) as caught:
        translate_request(SONNET, encode(request() | options), lenient=lenient)
    assert (caught.value.field, caught.value.reason) == (field, reason)


@pytest.mark.parametrize(
    ("model", "options", "field", "reason"),
    [
        (UNKNOWN, {"max_tokens": None}, "body.max_completion_tokens", "missing_field"),
        (
            NEW_SONNET,
            {"messages": [user(), assistant()]},
            "body.messages[1].role",
            "unsupported_prefill",
        ),
        (
            ALWAYS,
            {"tools": [WEATHER], "tool_choice": "required"},
            "body.tool_choice",
            "unsupported_parameter",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    model: Model, options: dict[str, Any], field: str, reason: str
) -> None:
    for strict in (translate_request, check_translation):
        with pytest.raises(LineRejected) as caught:
            strict(model, encode(request() | options))
        assert (caught.value.field, caught.value.reason) == (field, reason)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"{", b'{"messages":' + b"[" * 100_000, b'{"messages":["\xff"]}'],
)
def test_unreadable_bodies_are_refused(body: bytes) -> None:
    for strict in (translate_request, check_translation):
        with pytest.raises(LineRejected):
            strict(SONNET, body)

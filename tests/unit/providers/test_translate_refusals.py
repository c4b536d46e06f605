"""What cannot be translated: refused with its field, or told when lenient."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.providers.anthropic.translation import check_translation, translate_request
from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from tests.support.providers.chat_requests import (
    ALWAYS,
    NEW_SONNET,
    OPUS_46,
    PLAIN,
    SONNET,
    UNKNOWN,
    WEATHER,
    assert_lost,
    assert_refused,
    assistant,
    call,
    calling,
    encode,
    function,
    json_schema,
    request,
    tool,
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
        {"response_format": json_schema(schema={})},
        "body.response_format.json_schema",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"messages": [user(), assistant("{")], "response_format": json_schema(schema={})},
        "body.response_format.json_schema",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"response_format": json_schema(schema={"description": "one"}, description="two")},
        "body.response_format.json_schema.description",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"response_format": {"type": "text", "odd": 1}},
        "body.response_format.odd",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"response_format": json_schema(schema={}, odd=1)},
        "body.response_format.json_schema.odd",
        "unsupported_parameter",
    ),
    (SONNET, {"max_tokens": 64_001}, "body.max_tokens", "unsupported_value"),
    (SONNET, {"user": "ann@example.org"}, "body.user", "unsupported_value"),
    (SONNET, {"user": "+47 (0) 555-1234"}, "body.user", "unsupported_value"),
    (SONNET, {"user": "x" * 257}, "body.user", "unsupported_value"),
    (
        SONNET,
        {"tools": [function(name="f", parameters={"type": "object", "anyOf": [{}]})]},
        "body.tools[0].function.parameters.anyOf",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {
            "tools": [WEATHER],
            "tool_choice": {"type": "function", "function": {"name": "weather"}, "odd": 1},
        },
        "body.tool_choice.odd",
        "unsupported_parameter",
    ),
    (
        PLAIN,
        {"tools": [function(name="f", strict=True)]},
        "body.tools[0].function.strict",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {"tools": [function(name="f", odd=1)]},
        "body.tools[0].function.odd",
        "unsupported_parameter",
    ),
    (ALWAYS, {"reasoning_effort": "none"}, "body.reasoning_effort", "unsupported_value"),
    (OPUS_46, {"reasoning_effort": "xhigh"}, "body.reasoning_effort", "unsupported_value"),
    (
        SONNET,
        {"reasoning_effort": "low", "max_tokens": 1365},
        "body.reasoning_effort",
        "unsupported_value",
    ),
    *(
        (
            model,
            {"reasoning_effort": "low", "tools": [WEATHER], "tool_choice": "required"},
            "body.reasoning_effort",
            "unsupported_parameter",
        )
        for model in (SONNET, OPUS_46)
    ),
    (
        SONNET,
        {"reasoning_effort": "low", "messages": [user(), assistant("It is")]},
        "body.reasoning_effort",
        "unsupported_parameter",
    ),
    (
        SONNET,
        {
            "reasoning_effort": "low",
            "messages": [user(), calling(call("c")), tool("c")],
            "tools": [WEATHER],
        },
        "body.reasoning_effort",
        "unsupported_parameter",
    ),
    *(
        (OPUS_46, {name: value, "reasoning_effort": "low"}, f"body.{name}", "unsupported_parameter")
        for name, value in {"temperature": 0.5, "top_p": 0.9}.items()
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
    (SONNET, {"stop": ["a", " \n"]}, "body.stop[1]", "unsupported_value"),
    (SONNET, {"stop": ""}, "body.stop", "unsupported_value"),
]


@pytest.mark.parametrize(("model", "options", "field", "reason"), LOST)
def test_what_would_be_lost_is_refused_or_told(
    model: Model, options: dict[str, Any], field: str, reason: str
) -> None:
    assert_lost(request() | options, field, reason, model)


def strict_tool(number: int, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    parameters["additionalProperties"] = False
    function = {"name": f"f{number}", "strict": True, "parameters": parameters}
    return {"type": "function", "function": function}


def schema_format(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = strict_tool(0, properties, required)["function"]["parameters"]
    return json_schema(name="n", schema=schema)


TEXT = {"type": "string"}
UNION = {"type": ["string", "null"]}
EITHER = {"anyOf": [TEXT, {"type": "null"}]}


def many(count: int, kind: Any = TEXT) -> dict[str, Any]:
    return {f"p{number}": kind for number in range(count)}


def nested_unions(count: int) -> dict[str, Any]:
    """One more than so many, all but one of them in the items of a list."""
    item = strict_tool(0, many(count, EITHER), list(many(count)))["function"]["parameters"]
    listed = {"list": {"type": "array", "items": item}, "one": UNION}
    return schema_format(listed, ["list", "one"])


LIMITS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"tools": [strict_tool(number, {}, []) for number in range(20)]},
        {"tools": [strict_tool(number, {}, []) for number in range(21)]},
        "body.tools",
    ),
    # Over all strict schemas together, the answer's too, at every depth.
    (
        {"tools": [strict_tool(1, many(20), [])], "response_format": schema_format(many(4), [])},
        {"tools": [strict_tool(1, many(20), [])], "response_format": schema_format(many(5), [])},
        "body.tools",
    ),
    (
        {"tools": [strict_tool(n, many(8, UNION), list(many(8))) for n in range(2)]},
        {"tools": [strict_tool(n, many(9, UNION), list(many(9))) for n in range(2)]},
        "body.tools",
    ),
    (
        {"response_format": nested_unions(15)},
        {"response_format": nested_unions(16)},
        "body.response_format.json_schema.schema",
    ),
]


@pytest.mark.parametrize(("fits", "too_much", "field"), LIMITS)
def test_how_much_is_enforced(fits: dict[str, Any], too_much: dict[str, Any], field: str) -> None:
    assert translate(request() | fits)[1] == []
    assert_refused(request() | too_much, field, "too_complex_schema")
    loose = {
        key: [{**tool, "function": {**tool["function"], "strict": False}} for tool in value]
        for key, value in too_much.items()
        if key == "tools"
    }
    assert translate(request() | loose)[1] == []


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"user": 5}, "body.user", "wrong_type"),
    ({"tools": [function(name="a.b")]}, "body.tools[0].function.name", "unsupported_value"),
    (
        {"tools": [function(name="f", parameters={"type": "array"})]},
        "body.tools[0].function.parameters.type",
        "unsupported_value",
    ),
]


@pytest.mark.parametrize(("options", "field", "reason"), REFUSED)
def test_what_is_wrong_is_refused_always(options: dict[str, Any], field: str, reason: str) -> None:
    assert_refused(request() | options, field, reason)


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
    assert_refused(request() | options, field, reason, model)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"{", b'{"messages":' + b"[" * 100_000, b'{"messages":["\xff"]}'],
)
def test_unreadable_bodies_are_refused(body: bytes) -> None:
    for lenient in (False, True):
        with pytest.raises(LineRejected):
            translate_request(SONNET, body, lenient=lenient)
    assert check_translation(SONNET, body)[-1].weight == "refused"


def test_all_that_gets_lost_is_told_before_what_is_refused() -> None:
    body = request(n=2, verbosity="low", seed=1, stop=5)
    assert [(note.field, note.weight) for note in check_translation(SONNET, encode(body))] == [
        ("body.n", "lost"),
        ("body.verbosity", "lost"),
        ("body.seed", "harmless"),
        ("body.stop", "refused"),
    ]


def test_the_other_stop_sequences_are_kept() -> None:
    params, notes = translate_request(
        SONNET, encode(request(stop=[" ", "END", "\n"])), lenient=True
    )
    assert json.loads(params)["stop_sequences"] == ["END"]
    assert [note.field for note in notes if note.dropped] == ["body.stop[0]", "body.stop[2]"]
    params, _ = translate_request(SONNET, encode(request(stop="\n")), lenient=True)
    assert "stop_sequences" not in json.loads(params)


def test_names_of_the_users_own_are_cut() -> None:
    (note,) = check_translation(SONNET, encode(request(**{"x" * 10_000: 1})))
    assert len(note.field) < 300
    assert len(note.message) < 300


def test_what_the_lenient_mode_leaves_out() -> None:
    body = request(n=2, seed=1, max_completion_tokens=5)
    _, notes = translate_request(SONNET, encode(body), lenient=True)
    assert [note.field for note in notes if note.dropped] == [
        "body.n",
        "body.seed",
        "body.max_tokens",
    ]

"""Everything but the messages: chat completion options to Messages params."""

from __future__ import annotations

from typing import Any

import pytest

from core.providers.catalogue import Model
from tests.support.providers.chat_requests import (
    BETWEEN,
    NEW_SONNET,
    OPUS_46,
    SCHEMA,
    SONNET,
    UNKNOWN,
    WEATHER,
    WEATHER_TOOL,
    function,
    json_schema,
    request,
    translate,
    user,
)

OPTIONS: list[tuple[str, Model, dict[str, Any], dict[str, Any]]] = [
    (
        "max_completion_tokens",
        SONNET,
        {"max_completion_tokens": 7, "max_tokens": None},
        {"max_tokens": 7},
    ),
    ("stop", SONNET, {"stop": "END"}, {"stop_sequences": ["END"]}),
    ("stops", SONNET, {"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    ("temperature", SONNET, {"temperature": 0.3}, {"temperature": 0.3}),
    ("top_p", SONNET, {"top_p": 0.5}, {"top_p": 0.5}),
    ("user", SONNET, {"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
    ("tools", SONNET, {"tools": [WEATHER]}, {"tools": [WEATHER_TOOL]}),
    (
        "a function without parameters",
        SONNET,
        {"tools": [function(name="f", description=None)]},
        {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    (
        "a function with empty parameters",
        SONNET,
        {"tools": [function(name="f", parameters={})]},
        {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    (
        "strict functions",
        SONNET,
        {"tools": [function(name="f", strict=True), function(name="g", strict=False)]},
        {
            "tools": [
                {
                    "name": "f",
                    "strict": True,
                    "input_schema": {
                        "type": "object",
                        "properties": {},
                        "additionalProperties": False,
                    },
                },
                {"name": "g", "input_schema": {"type": "object", "properties": {}}},
            ]
        },
    ),
    (
        "a strict function with parameters",
        SONNET,
        {"tools": [function(name="f", strict=True, parameters=SCHEMA)]},
        {"tools": [{"name": "f", "strict": True, "input_schema": SCHEMA}]},
    ),
    (
        "choice auto",
        SONNET,
        {"tools": [WEATHER], "tool_choice": "auto"},
        {"tools": [WEATHER_TOOL], "tool_choice": {"type": "auto"}},
    ),
    (
        "choice none",
        SONNET,
        {"tools": [WEATHER], "tool_choice": "none", "parallel_tool_calls": False},
        {"tools": [WEATHER_TOOL], "tool_choice": {"type": "none"}},
    ),
    (
        "choice required",
        SONNET,
        {"tools": [WEATHER], "tool_choice": "required"},
        {"tools": [WEATHER_TOOL], "tool_choice": {"type": "any"}},
    ),
    (
        "choice function",
        SONNET,
        {"tools": [WEATHER], "tool_choice": function(name="weather"), "parallel_tool_calls": False},
        {
            "tools": [WEATHER_TOOL],
            "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        },
    ),
    (
        "no parallel calls",
        SONNET,
        {"tools": [WEATHER], "parallel_tool_calls": False},
        {
            "tools": [WEATHER_TOOL],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
    ),
    (
        "parallel calls",
        SONNET,
        {"tools": [WEATHER], "parallel_tool_calls": True},
        {"tools": [WEATHER_TOOL]},
    ),
    ("choice without tools", SONNET, {"tool_choice": "auto", "parallel_tool_calls": False}, {}),
    ("no tools", SONNET, {"tools": []}, {}),
    ("text", SONNET, {"response_format": {"type": "text"}}, {}),
    (
        "schema",
        SONNET,
        {"response_format": json_schema(name="n", strict=True, schema=SCHEMA)},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    (
        "what the schema is for",
        SONNET,
        {"response_format": json_schema(name="n", description="A number.", schema=SCHEMA)},
        {
            "output_config": {
                "format": {"type": "json_schema", "schema": SCHEMA | {"description": "A number."}}
            }
        },
    ),
    ("no stops", SONNET, {"stop": []}, {}),
    ("temperature's default", SONNET, {"temperature": 1}, {}),
    ("top_p's default", SONNET, {"temperature": 0.5, "top_p": 1.0}, {"temperature": 0.5}),
    ("defaults of a model without", NEW_SONNET, {"temperature": 1.0, "top_p": 1}, {}),
    (
        "top_p while it thinks",
        OPUS_46,
        {"reasoning_effort": "low", "top_p": 0.95},
        {"top_p": 0.95, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
    ),
    (
        "a forced tool while it thinks",
        NEW_SONNET,
        {"reasoning_effort": "low", "tools": [WEATHER], "tool_choice": "required"},
        {
            "tools": [WEATHER_TOOL],
            "tool_choice": {"type": "any"},
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "low"},
        },
    ),
    (
        "effort as a budget",
        SONNET,
        {"reasoning_effort": "high", "max_tokens": 9000},
        {"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 4096}},
    ),
    (
        "a budget that leaves room for an answer",
        SONNET,
        {"reasoning_effort": "max", "max_tokens": 4000},
        {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 3000}},
    ),
    (
        "the least budget and its room",
        SONNET,
        {"reasoning_effort": "low", "max_tokens": 1366},
        {"max_tokens": 1366, "thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    (
        "effort",
        OPUS_46,
        {"reasoning_effort": "max"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
    ),
    (
        "least effort",
        NEW_SONNET,
        {"reasoning_effort": "minimal"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
    ),
    (
        "effort and schema",
        NEW_SONNET,
        {"reasoning_effort": "xhigh", "response_format": json_schema(name="n", schema=SCHEMA)},
        {
            "thinking": {"type": "adaptive"},
            "output_config": {
                "effort": "xhigh",
                "format": {"type": "json_schema", "schema": SCHEMA},
            },
        },
    ),
    ("no effort, off unless asked for", OPUS_46, {"reasoning_effort": "none"}, {}),
    (
        "no effort, disabled",
        NEW_SONNET,
        {"reasoning_effort": "none"},
        {"thinking": {"type": "disabled"}},
    ),
    (
        "no effort, between tools",
        BETWEEN,
        {"reasoning_effort": "none"},
        {"thinking": {"type": "between_tools"}},
    ),
    ("a model that is not listed", UNKNOWN, {"temperature": 0.5}, {"temperature": 0.5}),
]


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [case[1:] for case in OPTIONS],
    ids=[case[0] for case in OPTIONS],
)
def test_options(model: Model, options: dict[str, Any], expected: dict[str, Any]) -> None:
    params, notes = translate(request(**options), model)
    base = {"model": model.id, "max_tokens": 2000, "messages": [user()]}
    assert params == base | expected
    assert notes == []


NOTED: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("the most tokens", {"max_tokens": None}, [("body.max_completion_tokens", "filled_in")]),
    (
        "two limits",
        {"max_completion_tokens": 2000, "max_tokens": 3},
        [("body.max_tokens", "ignored")],
    ),
    *(
        (name, {name: value}, [(f"body.{name}", "ignored")])
        for name, value in {
            "service_tier": "flex",
            "store": True,
            "metadata": {"a": "b"},
            "seed": 7,
            "n": 1,
            "logprobs": False,
            "top_logprobs": 0,
            "logit_bias": {},
            "frequency_penalty": 0.0,
            "presence_penalty": 0,
            "stream": False,
            "modalities": ["text"],
            "prompt_cache_key": "k",
        }.items()
    ),
]


@pytest.mark.parametrize(
    ("options", "notes"), [case[1:] for case in NOTED], ids=[case[0] for case in NOTED]
)
def test_what_is_harmless_is_told(options: dict[str, Any], notes: list[tuple[str, str]]) -> None:
    params, told = translate(request(**options))
    assert told == notes
    assert params.keys() == {"model", "max_tokens", "messages"}
    assert params["max_tokens"] == (64_000 if "filled_in" in notes[0] else 2000)


def test_parameters_without_a_type_are_an_object() -> None:
    function = {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}
    params, notes = translate(request(tools=[{"type": "function", "function": function}]))
    (tool,) = params["tools"]
    assert tool["input_schema"] == {"type": "object", "properties": {"a": {"type": "string"}}}
    assert notes == [("body.tools[0].function.parameters.type", "filled_in")]

"""/v1/responses as chat completions: every field is decided, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args, get_type_hints

import pytest
from openai.types.responses import response_create_params as sdk
from openai.types.responses.response_includable import ResponseIncludable
from openai.types.responses.response_input_item_param import ResponseInputItemParam

from core.providers.contract import LineRejected
from core.providers.translation.report import Report
from core.providers.translation.responses import items as item_tables
from core.providers.translation.responses import options as tables
from core.providers.translation.responses import to_chat
from core.providers.translation.responses.origins import MessageOrigin, Origins
from tests.support.providers.chat_requests import PDF, PNG, SCHEMA
from tests.support.providers.responses_requests import ASKED, CALL, OUTPUT, TOOL, chat_of, request


def test_every_field_of_the_sdk_is_decided() -> None:
    asked = {
        *sdk.ResponseCreateParamsBase.__annotations__,
        *sdk.ResponseCreateParamsNonStreaming.__annotations__,
    }
    decided = Counter(
        [
            *tables.TRANSLATED,
            *tables.HARMLESS,
            *tables.HARMLESS_VALUES,
            *tables.LOST,
            *tables.REFUSED,
        ]
    )
    assert decided.keys() == asked
    assert set(decided.values()) == {1}


def test_every_item_of_the_sdk_is_decided() -> None:
    kinds = set()
    for each in get_args(ResponseInputItemParam):
        hint = get_type_hints(each, include_extras=True)["type"]
        while not isinstance(get_args(hint)[0], str):
            hint = get_args(hint)[0]
        kinds.update(get_args(hint))
    decided = Counter(
        [*item_tables.TRANSLATED_ITEMS, *item_tables.IGNORED_ITEMS, *item_tables.REFUSED_ITEMS]
    )
    assert decided.keys() == kinds
    assert set(decided.values()) == {1}


def test_everything_that_can_be_included_is_decided() -> None:
    assert set(get_args(ResponseIncludable)) == tables.INCLUDE_WITHOUT_EFFECT | tables.NOT_INCLUDED
    assert not tables.INCLUDE_WITHOUT_EFFECT & tables.NOT_INCLUDED


def test_a_text() -> None:
    chat, notes = chat_of(request(instructions="Be brief.", temperature=0.5, top_p=1))
    assert chat == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ],
        "max_completion_tokens": 2000,
        "temperature": 0.5,
        "top_p": 1,
    }
    assert notes == []


def test_a_conversation() -> None:
    body = request(
        {"type": "message", "role": "developer", "content": "Use tools."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
            ],
        },
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
        },
        {**CALL, "id": "fc_1", "status": "completed"},
        {**CALL, "call_id": "c2"},
        OUTPUT,
        {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "43"}]},
        {**CALL, "call_id": "c3"},
        {**OUTPUT, "call_id": "c3"},
        tools=[{**TOOL, "description": "F."}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
        text={
            "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            "verbosity": "high",
        },
    )
    function = {"name": "f", "arguments": "{}"}

    def call(call_id: str) -> dict[str, Any]:
        return {"id": call_id, "type": "function", "function": function}

    chat, notes = chat_of(body)
    assert notes == []
    assert chat == {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Use tools."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                    {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "Let me see."}],
                "tool_calls": [call("c1"), call("c2")],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "43"}]},
            {"role": "assistant", "content": None, "tool_calls": [call("c3")]},
            {"role": "tool", "tool_call_id": "c3", "content": "42"},
        ],
        "max_completion_tokens": 2000,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "F.",
                    "parameters": SCHEMA,
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
        },
        "verbosity": "high",
    }


def test_what_is_said_around_a_call_is_one_turn() -> None:
    said = {"role": "assistant", "content": "One."}
    more = {"role": "assistant", "content": [{"type": "output_text", "text": "Two."}]}
    chat, _ = chat_of(request(ASKED, said, CALL, more, OUTPUT, tools=[TOOL]))
    turn = chat["messages"][1]
    assert [part["text"] for part in turn["content"]] == ["One.", "Two."]
    assert len(turn["tool_calls"]) == 1
    chat, _ = chat_of(request(ASKED, CALL, said, OUTPUT, tools=[TOOL]))
    assert chat["messages"][1]["content"] == "One."


@pytest.mark.parametrize("kind", [{"type": "text"}, {"type": "json_object"}])
def test_other_formats(kind: dict[str, str]) -> None:
    chat, _ = chat_of(request(text={"format": kind}))
    assert chat.get("response_format") == (None if kind["type"] == "text" else kind)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("required", "required"),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}],
            },
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
        ),
    ],
)
def test_tool_choices(given: Any, made: Any) -> None:
    assert chat_of(request(tools=[TOOL], tool_choice=given))[0]["tool_choice"] == made


def test_a_body_that_is_no_json() -> None:
    with pytest.raises(LineRejected) as caught:
        to_chat(b'{"model":', Report())
    assert (caught.value.field, caught.value.reason) == ("body", "invalid_json")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("body.max_tokens is too small", "body.max_output_tokens is too small"),
        ('There is no "body.max_tokens" here', 'There is no "body.max_tokens" here'),
        ("the tool 'response_format' is unknown", "the tool 'response_format' is unknown"),
        # Paths that the user made up, of messages and calls that there are not.
        ("#/body.messages[0].tool_calls[7]", "#/body.input[0].tool_calls[7]"),
        ("#/body.messages[9].content[0]", "#/body.input[9].content[0]"),
    ],
)
def test_what_is_said_of_a_chat_completion_is_said_of_the_response(said: str, shown: str) -> None:
    origins = Origins()
    origins.messages.append(MessageOrigin("body.input[0]", "body.input[0].content"))
    assert origins.text(said) == shown

"""/v1/responses as chat completions: what becomes of each field, and how it is named."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any, get_args, get_type_hints

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses import response_create_params as sdk
from openai.types.responses.response_includable import ResponseIncludable
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from pydantic import TypeAdapter

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
from core.providers.translation.responses import items as item_tables
from core.providers.translation.responses import options as tables
from core.providers.translation.responses.fast_path import surely_passes
from tests.support.providers.chat_requests import PDF, PNG, SCHEMA, encode, exhaust
from tests.support.providers.grammar import Grammar
from tests.support.providers.responses_requests import as_responses, resolves

SONNET = find_model("anthropic", "claude-sonnet-4-5")
CHAT_REQUEST = TypeAdapter(CompletionCreateParamsNonStreaming)
ASKED = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "42"}
TOOL = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}


def request(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": list(items) or "hi", "max_output_tokens": 2000} | fields


def chat_of(body: dict[str, Any], *, lenient: bool = False) -> tuple[dict[str, Any], list[Any]]:
    """The chat completion, which OpenAI's own type accepts, and the notes."""
    report = Report(lenient)
    chat = json.loads(to_chat(encode(body), report).body)
    exhaust(CHAT_REQUEST.validate_python(chat))
    return chat, [(note.field, note.reason) for note in report.notes]


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
    assert set(get_args(ResponseIncludable)) == tables.INCLUDED_IN_VAIN | tables.NOT_INCLUDED
    assert not tables.INCLUDED_IN_VAIN & tables.NOT_INCLUDED


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


HARMLESS: dict[str, tuple[dict[str, Any], str]] = {
    "background": ({"background": True}, "body.background"),
    "include": (
        {"include": ["message.input_image.image_url"]},
        "body.include[0]",
    ),
    "max_tool_calls": ({"max_tool_calls": 3}, "body.max_tool_calls"),
    "user": ({"user": "u"}, "body.user"),
    "metadata": ({"metadata": {"a": "b"}}, "body.metadata"),
    "truncation": ({"truncation": "disabled"}, "body.truncation"),
    "summary": ({"reasoning": {"summary": "auto"}}, "body.reasoning.summary"),
    "verbosity": ({"text": {"verbosity": "medium"}}, "body.text.verbosity"),
    "reasoning": (
        {"input": [ASKED, {"type": "reasoning", "id": "rs_1", "summary": []}, ASKED]},
        "body.input[1]",
    ),
    "phase": (
        {"input": [{"role": "assistant", "content": "x", "phase": "commentary"}, ASKED]},
        "body.input[0].phase",
    ),
}


@pytest.mark.parametrize(("fields", "path"), HARMLESS.values(), ids=HARMLESS)
def test_harmless_fields_are_told(fields: dict[str, Any], path: str) -> None:
    chat, notes = chat_of(request(**fields))
    assert notes == [(path, "ignored")]
    assert chat.keys() == {"model", "messages", "max_completion_tokens"}


def test_without_tools_there_is_nothing_to_choose() -> None:
    # Programs that write all fields of a class write this; servers refuse it in a chat completion.
    asked = request(tools=[], tool_choice="auto", parallel_tool_calls=True)
    assert chat_of(asked) == chat_of(request())


def test_null_is_no_field() -> None:
    nothing = dict.fromkeys(sdk.ResponseCreateParamsBase.__annotations__)
    chat, notes = chat_of(nothing | request())
    assert (chat, notes) == (chat_of(request())[0], [])


def test_a_tool_is_not_strict_by_itself() -> None:
    tool = {"type": "function", "name": "f", "parameters": SCHEMA}
    chat, notes = chat_of(request(tools=[tool]))
    assert chat["tools"] == [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    assert notes == [("body.tools[0].strict", FILLED_IN)]


LOST: dict[str, tuple[dict[str, Any], str]] = {
    "include": ({"include": ["reasoning.encrypted_content"]}, "body.include[0]"),
    "top_logprobs": ({"top_logprobs": 2}, "body.top_logprobs"),
    "truncation": ({"truncation": "auto"}, "body.truncation"),
    "context_management": (
        {"context_management": [{"type": "compaction"}]},
        "body.context_management",
    ),
    "moderation": ({"moderation": {"model": "omni-moderation-latest"}}, "body.moderation"),
    "summary": ({"reasoning": {"summary": "detailed"}}, "body.reasoning.summary"),
    "mode": ({"reasoning": {"mode": "pro"}}, "body.reasoning.mode"),
    "unknown": ({"max_tokens": 5}, "body.max_tokens"),
    "unknown within text": ({"text": {"color": "red"}}, "body.text.color"),
    "defer_loading": ({"tools": [TOOL | {"defer_loading": True}]}, "body.tools[0].defer_loading"),
    "namespace": (
        {"input": [ASKED, CALL | {"namespace": "n"}, OUTPUT]},
        "body.input[1].namespace",
    ),
}


@pytest.mark.parametrize(("fields", "path"), LOST.values(), ids=LOST)
def test_lost_fields_are_refused_or_left_out(fields: dict[str, Any], path: str) -> None:
    body = request(**fields)
    with pytest.raises(LineRejected) as caught:
        chat_of(body)
    assert (caught.value.field, caught.value.reason) == (path, "unsupported_parameter")
    chat, notes = chat_of(body, lenient=True)
    assert notes == [(path, "unsupported_parameter")]
    assert f'"{path.rpartition(".")[2].partition("[")[0]}"' not in json.dumps(chat)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "conversation": ({"conversation": "conv_1"}, "body.conversation", "unsupported_parameter"),
    "previous": (
        {"previous_response_id": "resp_1"},
        "body.previous_response_id",
        "unsupported_parameter",
    ),
    "prompt": ({"prompt": {"id": "pmpt_1"}}, "body.prompt", "unsupported_parameter"),
    "no input": ({"input": None}, "body.input", "missing_field"),
    "no item": ({"input": []}, "body.input", "missing_user_message"),
    "input of numbers": ({"input": [1]}, "body.input", "wrong_type"),
    "built-in tool": (
        {"tools": [{"type": "web_search"}]},
        "body.tools[0].type",
        "unsupported_tool",
    ),
    "choice": (
        {"tools": [TOOL], "tool_choice": {"type": "file_search"}},
        "body.tool_choice",
        "unsupported_parameter",
    ),
    "choice without tools": ({"tool_choice": "required"}, "body.tool_choice", "missing_tools"),
    "item": (
        {"input": [ASKED, {"type": "item_reference", "id": "x"}]},
        "body.input[1].type",
        "unsupported_content",
    ),
    "no type": ({"input": [{"content": "x"}]}, "body.input[0].type", "unsupported_content"),
    "role": (
        {"input": [{"role": "tool", "content": "x"}]},
        "body.input[0].role",
        "unsupported_role",
    ),
    "part": (
        {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
        "body.input[0].content[0].type",
        "unsupported_content",
    ),
    "part of an output": (
        {
            "input": [
                ASKED,
                CALL,
                OUTPUT | {"output": [{"type": "input_image", "image_url": PNG}]},
            ]
        },
        "body.input[2].output[0].type",
        "unsupported_content",
    ),
    "image by id": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
        "body.input[0].content[0].file_id",
        "unsupported_file_id",
    ),
    "file by address": (
        {
            "input": [
                {
                    "role": "user",
                    "content": [{"type": "input_file", "file_url": "https://example.org/a.pdf"}],
                }
            ]
        },
        "body.input[0].content[0].file_url",
        "unsupported_url",
    ),
}


@pytest.mark.parametrize(("fields", "path", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_no_mode_sends(fields: dict[str, Any], path: str, reason: str) -> None:
    for lenient in (False, True):
        with pytest.raises(LineRejected) as caught:
            chat_of(request(**fields), lenient=lenient)
        assert (caught.value.field, caught.value.reason) == (path, reason)
    last = check_through_chat(lambda _chat: (), encode(request(**fields)), model=SONNET)[-1]
    assert (last.field, last.reason, last.weight) == (path, reason, "refused")


def test_a_body_that_is_no_json() -> None:
    with pytest.raises(LineRejected) as caught:
        to_chat(b'{"model":', Report())
    assert (caught.value.field, caught.value.reason) == ("body", "invalid_json")


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

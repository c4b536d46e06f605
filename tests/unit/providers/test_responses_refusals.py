"""What of a /v1/responses request is left out, told, lost or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import response_create_params as sdk

from core.providers.contract import LineRejected
from core.providers.translation.report import FILLED_IN
from core.providers.translation.responses import check_through_chat
from tests.support.providers.chat_requests import PNG, SCHEMA, encode
from tests.support.providers.responses_requests import (
    ASKED,
    CALL,
    OUTPUT,
    SONNET,
    TOOL,
    chat_of,
    request,
)

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

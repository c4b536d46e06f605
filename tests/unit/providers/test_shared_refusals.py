"""What no translation of chat completions sends, whoever it is for."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.support.providers import chat_requests, gemini_requests
from tests.support.providers.chat_requests import WEATHER, assistant, call, request, tool, user

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": None}, "body.messages", "missing_field"),
    ({"messages": "hi"}, "body.messages", "wrong_type"),
    ({"messages": ["hi"]}, "body.messages", "wrong_type"),
    ({"messages": []}, "body.messages", "missing_user_message"),
    ({"messages": [{"role": "system", "content": "x"}]}, "body.messages", "missing_user_message"),
    ({"messages": [assistant()]}, "body.messages[0].role", "first_message_not_user"),
    (
        {"messages": [{"role": "function", "name": "f", "content": "x"}]},
        "body.messages[0].role",
        "unsupported_role",
    ),
    ({"messages": [{"content": "x"}]}, "body.messages[0].role", "unsupported_role"),
    ({"messages": [user("")]}, "body.messages[0].content", "empty_content"),
    ({"messages": [user(None)]}, "body.messages[0].content", "wrong_type"),
    ({"messages": [user([])]}, "body.messages[0].content", "wrong_type"),
    ({"messages": [user([{"type": "text"}])]}, "body.messages[0].content[0].text", "wrong_type"),
    ({"messages": [user(["x"])]}, "body.messages[0].content[0].type", "unsupported_content"),
    (
        {
            "messages": [
                user([{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}}])
            ]
        },
        "body.messages[0].content[0].image_url.url",
        "unsupported_media_type",
    ),
    (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "ftp://x/a.png"}}])]},
        "body.messages[0].content[0].image_url.url",
        "unsupported_url",
    ),
    (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "http://x/a.png"}}])]},
        "body.messages[0].content[0].image_url.url",
        "unsupported_url",
    ),
    (
        {
            "messages": [
                user(),
                assistant(None, tool_calls=[call("c"), call("c")]),
                tool("c"),
                tool("c"),
            ]
        },
        "body.messages[1].tool_calls[1].id",
        "duplicate_tool_call",
    ),
    (
        {
            "messages": [
                user(),
                assistant(
                    None,
                    tool_calls=[{"id": "c", "function": {"name": "a b", "arguments": "{}"}}],
                ),
                tool("c"),
            ]
        },
        "body.messages[1].tool_calls[0].function.name",
        "unsupported_value",
    ),
    (
        {"messages": [user([{"type": "image_url", "image_url": "https://x"}])]},
        "body.messages[0].content[0].image_url",
        "wrong_type",
    ),
    (
        {"messages": [user([{"type": "file", "file": {"file_id": "file-1"}}])]},
        "body.messages[0].content[0].file.file_id",
        "unsupported_file_id",
    ),
    ({"messages": [user(), assistant(None), user()]}, "body.messages[1].content", "wrong_type"),
    (
        {"messages": [user(), assistant(None, tool_calls=[call("c", "not json")]), tool("c")]},
        "body.messages[1].tool_calls[0].function.arguments",
        "invalid_arguments",
    ),
    (
        {"messages": [user(), assistant(None, tool_calls=[call("c", "[1]")]), tool("c")]},
        "body.messages[1].tool_calls[0].function.arguments",
        "invalid_arguments",
    ),
    (
        {
            "messages": [
                user(),
                assistant(None, tool_calls=[{"id": "c", "type": "custom"}]),
                tool("c"),
            ]
        },
        "body.messages[1].tool_calls[0].type",
        "unsupported_tool",
    ),
    (
        {"messages": [user(), tool("c")]},
        "body.messages[1].tool_call_id",
        "tool_result_without_call",
    ),
    (
        {"messages": [user(), assistant(None, tool_calls=[call("c")]), tool("c"), tool("c")]},
        "body.messages[3].tool_call_id",
        "tool_result_without_call",
    ),
    (
        {
            "messages": [
                user(),
                assistant(None, tool_calls=[call("c"), call("d")]),
                tool("c"),
                user(),
            ]
        },
        "body.messages[1].tool_calls[1]",
        "tool_call_without_result",
    ),
    (
        {"messages": [user(), assistant(None, tool_calls=[call("c")])]},
        "body.messages[1].tool_calls[0]",
        "tool_call_without_result",
    ),
    ({"max_tokens": 0}, "body.max_tokens", "wrong_type"),
    ({"max_tokens": 10.5}, "body.max_tokens", "wrong_type"),
    ({"max_completion_tokens": "10"}, "body.max_completion_tokens", "wrong_type"),
    ({"stop": 5}, "body.stop", "wrong_type"),
    ({"temperature": "hot"}, "body.temperature", "wrong_type"),
    ({"temperature": -1}, "body.temperature", "wrong_type"),
    ({"top_p": 1.5}, "body.top_p", "wrong_type"),
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
    ({"tools": [WEATHER, WEATHER]}, "body.tools[1].function.name", "duplicate_tool"),
    ({"tool_choice": "required"}, "body.tool_choice", "missing_tools"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        "body.tool_choice.function.name",
        "unsupported_value",
    ),
    (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {}, "description": 5},
            }
        },
        "body.response_format.json_schema.description",
        "wrong_type",
    ),
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


@pytest.mark.parametrize(
    "translation", [chat_requests, gemini_requests], ids=["anthropic", "gemini"]
)
@pytest.mark.parametrize(("options", "field", "reason"), REFUSED)
def test_what_is_wrong_is_refused_always(
    translation: ModuleType, options: dict[str, Any], field: str, reason: str
) -> None:
    translation.assert_refused(request() | options, field, reason)

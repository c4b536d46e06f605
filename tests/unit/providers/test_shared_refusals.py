"""What no translation of chat completions sends, whoever it is for."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.support.providers import chat_requests, gemini_requests
from tests.support.providers.chat_requests import (
    WEATHER,
    assistant,
    call,
    calling,
    function,
    image,
    json_schema,
    request,
    tool,
    user,
)

MESSAGES: list[tuple[Any, str, str]] = [
    (None, "", "missing_field"),
    ("hi", "", "wrong_type"),
    (["hi"], "", "wrong_type"),
    ([], "", "missing_user_message"),
    ([{"role": "system", "content": "x"}], "", "missing_user_message"),
    ([assistant()], "[0].role", "first_message_not_user"),
    ([{"role": "function", "name": "f", "content": "x"}], "[0].role", "unsupported_role"),
    ([{"content": "x"}], "[0].role", "unsupported_role"),
    ([user("")], "[0].content", "empty_content"),
    ([user(None)], "[0].content", "wrong_type"),
    ([user([])], "[0].content", "wrong_type"),
    ([user([{"type": "text"}])], "[0].content[0].text", "wrong_type"),
    ([user(["x"])], "[0].content[0].type", "unsupported_content"),
    ([user([{"type": "video"}])], "[0].content[0].type", "unsupported_content"),
    (
        [user([image(url="data:image/tiff;base64,AA==")])],
        "[0].content[0].image_url.url",
        "unsupported_media_type",
    ),
    ([user([image(url="ftp://x/a.png")])], "[0].content[0].image_url.url", "unsupported_url"),
    ([user([image(url="http://x/a.png")])], "[0].content[0].image_url.url", "unsupported_url"),
    ([user([image() | {"image_url": "https://x"}])], "[0].content[0].image_url", "wrong_type"),
    (
        [user([{"type": "file", "file": {"file_id": "file-1"}}])],
        "[0].content[0].file.file_id",
        "unsupported_file_id",
    ),
    ([user(), assistant(None), user()], "[1].content", "wrong_type"),
    (
        [user(), calling(call("c"), call("c")), tool("c"), tool("c")],
        "[1].tool_calls[1].id",
        "duplicate_tool_call",
    ),
    (
        [user(), calling({"id": "c"} | function(name="a b", arguments="{}")), tool("c")],
        "[1].tool_calls[0].function.name",
        "unsupported_value",
    ),
    *(
        (
            [user(), calling(call("c", arguments)), tool("c")],
            "[1].tool_calls[0].function.arguments",
            "invalid_arguments",
        )
        for arguments in ("not json", "[1]")
    ),
    (
        [user(), calling({"id": "c", "type": "custom"}), tool("c")],
        "[1].tool_calls[0].type",
        "unsupported_tool",
    ),
    ([user(), tool("c")], "[1].tool_call_id", "tool_result_without_call"),
    (
        [user(), calling(call("c")), tool("c"), tool("c")],
        "[3].tool_call_id",
        "tool_result_without_call",
    ),
    ([user(), calling(call("c")), tool("c") | {"name": "other"}], "[2].name", "unsupported_value"),
    (
        [user(), calling(call("c"), call("d")), tool("c"), user()],
        "[1].tool_calls[1]",
        "tool_call_without_result",
    ),
    ([user(), calling(call("c"))], "[1].tool_calls[0]", "tool_call_without_result"),
]

OPTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"max_tokens": 0}, "max_tokens", "wrong_type"),
    ({"max_tokens": 10.5}, "max_tokens", "wrong_type"),
    ({"max_completion_tokens": "10"}, "max_completion_tokens", "wrong_type"),
    ({"stop": 5}, "stop", "wrong_type"),
    ({"temperature": "hot"}, "temperature", "wrong_type"),
    ({"temperature": -1}, "temperature", "wrong_type"),
    ({"top_p": 1.5}, "top_p", "wrong_type"),
    ({"tools": {}}, "tools", "wrong_type"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "unsupported_tool"),
    ({"tools": [function()]}, "tools[0].function.name", "missing_field"),
    ({"tools": [function(name="f", parameters=[])]}, "tools[0].function.parameters", "wrong_type"),
    ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name", "duplicate_tool"),
    ({"tool_choice": "required"}, "tool_choice", "missing_tools"),
    (
        {"tools": [WEATHER], "tool_choice": function(name="f")},
        "tool_choice.function.name",
        "unsupported_value",
    ),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}},
        "tool_choice",
        "unsupported_parameter",
    ),
    (
        {"response_format": json_schema(schema={}, description=5)},
        "response_format.json_schema.description",
        "wrong_type",
    ),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "wrong_type"),
    (
        {"response_format": json_schema(name="n")},
        "response_format.json_schema.schema",
        "wrong_type",
    ),
    ({"response_format": {}}, "response_format.type", "wrong_type"),
    ({"reasoning_effort": "enormous"}, "reasoning_effort", "wrong_type"),
]


@pytest.mark.parametrize(
    "translation", [chat_requests, gemini_requests], ids=["anthropic", "gemini"]
)
@pytest.mark.parametrize(
    ("options", "field", "reason"),
    [
        *OPTIONS,
        *(({"messages": messages}, f"messages{at}", reason) for messages, at, reason in MESSAGES),
    ],
)
def test_what_is_wrong_is_refused_always(
    translation: ModuleType, options: dict[str, Any], field: str, reason: str
) -> None:
    translation.assert_refused(request() | options, f"body.{field}", reason)

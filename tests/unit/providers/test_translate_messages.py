"""The conversation: chat completion messages to a system prompt and turns."""

from __future__ import annotations

from typing import Any

import pytest

from core.providers.contract import LineRejected
from tests.support.providers.chat_requests import (
    PDF,
    PNG,
    WEATHER,
    assert_refused,
    assistant,
    call,
    calling,
    image,
    request,
    tool,
    translate,
    user,
)


def test_the_products_own_example() -> None:
    body = {
        "model": "anthropic/claude-4.5-sonnet",
        "messages": [user("Hello world! what is 13 + 25")],
        "max_tokens": 1000,
    }
    params, notes = translate(body)
    assert params == {
        "model": "claude-sonnet-4-5-20250929",
        "max_tokens": 1000,
        "messages": [user("Hello world! what is 13 + 25")],
    }
    assert notes == []


def use(call_id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "weather", "input": {"place": "Oslo"}}


def result(call_id: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "cold"}


TURNS: list[tuple[str, list[Any], Any, list[Any]]] = [
    ("plain", [user("a")], None, [user("a")]),
    (
        "system messages are joined in order",
        [{"role": "system", "content": "one"}, {"role": "developer", "content": "two"}, user()],
        "one\n\ntwo",
        [user()],
    ),
    (
        "system parts become blocks",
        [
            {"role": "system", "content": [{"type": "text", "text": "one"}]},
            {"role": "system", "content": "two"},
            user(),
        ],
        [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
        [user()],
    ),
    (
        "an empty system message says nothing",
        [{"role": "system", "content": ""}, user()],
        None,
        [user()],
    ),
    (
        "messages of one role are joined",
        [
            user("a"),
            user([{"type": "text", "text": "b"}]),
            assistant("c"),
            assistant("d"),
            user("e"),
        ],
        None,
        [
            user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            assistant([{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]),
            user("e"),
        ],
    ),
    (
        "images",
        [
            user(
                [
                    image(url=PNG, detail="auto"),
                    image(url="https://x.example/a.png"),
                    image(url="data:image/jpg;base64,/9j/"),
                ]
            )
        ],
        None,
        [
            user(
                [
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": "iVBORw0KGgo=",
                        },
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"},
                    },
                ]
            )
        ],
    ),
    (
        "PDF files",
        [
            user(
                [
                    {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
                    {"type": "file", "file": {"file_data": "JVBERi0xLjQ="}},
                ]
            )
        ],
        None,
        [
            user(
                [
                    {
                        "type": "document",
                        "title": "a.pdf",
                        "source": {
                            "type": "base64",
                            "media_type": "application/pdf",
                            "data": "JVBERi0xLjQ=",
                        },
                    },
                    {
                        "type": "document",
                        "source": {
                            "type": "base64",
                            "media_type": "application/pdf",
                            "data": "JVBERi0xLjQ=",
                        },
                    },
                ]
            )
        ],
    ),
    (
        "tool calls and their results",
        [
            user(),
            assistant(
                "let me see",
                tool_calls=[call("c1"), call("c2", '{ "n": 1.0,\n"m":9007199254740993 }')],
            ),
            tool("c2", [{"type": "text", "text": "warm"}]),
            tool("c1"),
            user("and?"),
        ],
        None,
        [
            user(),
            assistant(
                [
                    {"type": "text", "text": "let me see"},
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"place": "Oslo"}},
                    {
                        "type": "tool_use",
                        "id": "c2",
                        "name": "weather",
                        "input": {"n": 1.0, "m": 9007199254740993},
                    },
                ]
            ),
            user(
                [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "content": [{"type": "text", "text": "warm"}],
                    },
                    {"type": "tool_result", "tool_use_id": "c1", "content": "cold"},
                    {"type": "text", "text": "and?"},
                ]
            ),
        ],
    ),
    (
        "a tool call without text, a result without content",
        [user(), assistant(None, tool_calls=[call("c1", "{}")], refusal=None), tool("c1", "")],
        None,
        [
            user(),
            assistant([{"type": "tool_use", "id": "c1", "name": "weather", "input": {}}]),
            user([{"type": "tool_result", "tool_use_id": "c1"}]),
        ],
    ),
    (
        "a refusal is what the assistant said",
        [
            user(),
            assistant(None, refusal="No."),
            user("why?"),
            assistant([{"type": "refusal", "refusal": "Because."}]),
            user("ok"),
        ],
        None,
        [
            user(),
            assistant([{"type": "text", "text": "No."}]),
            user("why?"),
            assistant([{"type": "text", "text": "Because."}]),
            user("ok"),
        ],
    ),
    (
        "a refusal beside a text",
        [user(), assistant("Well.", refusal="No."), user("ok")],
        None,
        [
            user(),
            assistant([{"type": "text", "text": "Well."}, {"type": "text", "text": "No."}]),
            user("ok"),
        ],
    ),
    (
        "empty texts beside tool calls, and in their results, say nothing",
        [
            user(),
            assistant([{"type": "text", "text": ""}], tool_calls=[call("c1"), call("c2")]),
            tool("c1", [{"type": "text", "text": " "}, {"type": "text", "text": "cold"}]),
            tool("c2", [{"type": "text", "text": ""}]),
        ],
        None,
        [
            user(),
            assistant([use("c1"), use("c2")]),
            user(
                [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [{"type": "text", "text": "cold"}],
                    },
                    {"type": "tool_result", "tool_use_id": "c2"},
                ]
            ),
        ],
    ),
    (
        "ids of calls, which may come again and hold anything",
        [
            user(),
            calling(call("functions.weather:0"), call("functions_weather:0")),
            tool("functions_weather:0"),
            tool("functions.weather:0"),
            calling(call("functions.weather:0")),
            tool("functions.weather:0"),
        ],
        None,
        [
            user(),
            assistant([use("functions_weather_0"), use("functions_weather_0_1")]),
            user([result("functions_weather_0_1"), result("functions_weather_0")]),
            assistant([use("functions_weather_0_2")]),
            user([result("functions_weather_0_2")]),
        ],
    ),
    (
        "a last message of the assistant",
        [user(), assistant("It is")],
        None,
        [user(), assistant("It is")],
    ),
    (
        "calls as older programs write them",
        [user(), calling(call("c1", "")), tool("c1") | {"name": "weather"}],
        None,
        [
            user(),
            assistant([use("c1") | {"input": {}}]),
            user([{"type": "tool_result", "tool_use_id": "c1", "content": "cold"}]),
        ],
    ),
    ("null is absence", [user() | {"name": None}], None, [user()]),
]


@pytest.mark.parametrize(
    ("messages", "system", "turns"), [case[1:] for case in TURNS], ids=[case[0] for case in TURNS]
)
def test_messages(messages: list[Any], system: Any, turns: list[Any]) -> None:
    params, notes = translate(request(*messages, tools=[WEATHER]))
    assert params.get("system") == system
    assert params["messages"] == turns
    assert notes == []


def test_a_later_system_message_is_told() -> None:
    params, notes = translate(request(user("a"), {"role": "system", "content": "s"}, user("b")))
    assert params["system"] == "s"
    assert len(params["messages"]) == 1
    assert notes == [("body.messages[1]", "changed")]


@pytest.mark.parametrize(
    ("echo", "notes"),
    [
        ({"reasoning_content": "hm"}, [("body.messages[1].reasoning_content", "ignored")]),
        ({"annotations": [{"type": "url"}]}, [("body.messages[1].annotations", "ignored")]),
        ({"annotations": [], "refusal": None, "reasoning_content": None}, []),
    ],
)
def test_what_answers_hold_and_nobody_can_send_back_is_told(
    echo: dict[str, Any], notes: list[tuple[str, str]]
) -> None:
    _, told = translate(request(user(), assistant("yes") | echo, user()))
    assert told == notes


@pytest.mark.parametrize(
    "content", ["It is \n", [{"type": "text", "text": "It"}, {"type": "text", "text": "is "}]]
)
def test_white_space_at_the_end_of_a_prefill_goes(content: Any) -> None:
    params, notes = translate(request(user(), assistant(content)))
    last = params["messages"][-1]["content"]
    assert (last if isinstance(last, str) else last[-1]["text"]).endswith("s")
    assert notes == [("body.messages[1].content", "changed")]


@pytest.mark.parametrize("options", [{}, {"tools": []}, {"tool_choice": "auto"}])
def test_functions_that_are_called_but_not_offered_are_declared(options: dict[str, Any]) -> None:
    messages = [user(), calling(call("c1"), call("c2"))]
    params, notes = translate(request(*messages, tool("c1"), tool("c2"), **options))
    assert params["tools"] == [
        {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
    ]
    assert params["tool_choice"] == {"type": "none"}
    assert notes == [("body.tools", "changed")]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": [user(" \n")]}, "body.messages[0].content", "empty_content"),
    (
        {"messages": [user([{"type": "input_audio"}])]},
        "body.messages[0].content[0].type",
        "unsupported_content",
    ),
    (
        {
            "messages": [
                user([{"type": "file", "file": {"file_data": "data:text/csv;base64,AA=="}}])
            ]
        },
        "body.messages[0].content[0].file.file_data",
        "unsupported_media_type",
    ),
]


@pytest.mark.parametrize(("options", "field", "reason"), REFUSED)
def test_what_is_wrong_is_refused_always(options: dict[str, Any], field: str, reason: str) -> None:
    assert_refused(request() | options, field, reason)


def test_a_link_in_place_of_the_data_of_a_file_is_told_what_it_has_to_be() -> None:
    linked = {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}}
    with pytest.raises(LineRejected, match=r"file_data has to be a base64 data URL") as refused:
        translate(request(user([linked])))
    assert refused.value.reason == "unsupported_url"

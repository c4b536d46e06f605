"""Lines from one API's form into another's: nothing is lost on the way, or the line is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from core.providers.anthropic.translation import translate_request as to_params
from core.providers.anthropic.translation.reverse import chat_request as from_params
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected
from core.providers.conversion import Form, Target, convert_line
from core.providers.gemini.request import translate_request as to_contents
from core.providers.gemini.reverse import chat_request as from_contents
from core.providers.translation.report import Report
from tests.support.providers.chat_requests import encode, exhaust, function, request, user
from tests.support.providers.conversion_lines import CLAUDE, GOOGLE
from tests.support.providers.conversion_lines import chat_line as line
from tests.support.providers.grammar import Grammar

SEED = 20261128
REQUESTS = 2000
CHAT_REQUEST = TypeAdapter(CompletionCreateParamsNonStreaming)

ANTHROPIC = Target(Form.ANTHROPIC)
GEMINI = Target(Form.GEMINI)
OPENAI = Target(Form.OPENAI)

Forward = Callable[[str, bytes], tuple[bytes, Any]]


def anthropic(model: str, body: bytes) -> tuple[bytes, Any]:
    return to_params(find_model("anthropic", model), body)


def gemini(model: str, body: bytes) -> tuple[bytes, Any]:
    return to_contents("gemini-2.5-flash" if "sonnet" in model else "gemini-3-pro", body)


@pytest.mark.parametrize(("forward", "back"), [(anthropic, from_params), (gemini, from_contents)])
def test_there_and_back_is_the_same(
    forward: Forward, back: Callable[[bytes, Report], dict[str, Any]]
) -> None:
    """But for what has two ways of saying it, and budgets of thoughts, which OpenAI lacks."""
    grammar = Grammar(SEED)
    same = budgets = 0
    for _ in range(REQUESTS):
        model, body = grammar.request()
        try:
            native, _ = forward(model, encode(body))
        except LineRejected:
            continue
        try:
            chat = msgspec.json.encode(back(native, Report()))
        except LineRejected as error:
            if not error.field.endswith(("params.thinking", "thinkingBudget")):
                raise
            budgets += 1
            continue
        read = json.loads(chat)
        exhaust(CHAT_REQUEST.validate_python({"model": model} | read))
        again, _ = forward(model, chat)
        assert json.loads(again) == json.loads(native)
        same += 1
    assert same > REQUESTS / 10
    assert budgets < same


def convert(raw: bytes | dict[str, Any], target: Target) -> dict[str, Any]:
    converted, _ = convert_line(raw if isinstance(raw, bytes) else encode(raw), target)
    made: dict[str, Any] = json.loads(converted)
    return made


def refused(raw: bytes | dict[str, Any], target: Target) -> tuple[str, str]:
    with pytest.raises(LineRejected) as caught:
        convert_line(raw if isinstance(raw, bytes) else encode(raw), target)
    assert caught.value.message
    return caught.value.field, caught.value.reason


def test_an_anthropic_line_becomes_openais() -> None:
    made = convert(CLAUDE, OPENAI)
    assert made["provider"] == "anthropic"
    assert made["body"] == {
        "model": "claude-sonnet-4-5",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [
                    {
                        "id": "t1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"n": 1.0}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "cold"},
            {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
        ],
        "max_completion_tokens": 100,
        "stop": ["END"],
        "tools": [function(name="weather", parameters={"type": "object"})],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }


def test_a_gemini_line_becomes_openais_with_a_model() -> None:
    assert refused(GOOGLE, OPENAI) == ("request.model", "missing_field")
    made = convert(GOOGLE, Target(Form.OPENAI, model="gpt-4.1", provider="openai"))
    assert (made["custom_id"], made["provider"]) == ("a", "openai")
    assert made["body"] == {
        "model": "gpt-4.1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"n": 1}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "cold"},
        ],
        "tools": [
            function(
                name="weather",
                parameters={"type": "object", "properties": {"n": {"type": ["integer", "null"]}}},
            )
        ],
        "max_completion_tokens": 100,
        "response_format": {"type": "json_object"},
    }


def test_lines_go_to_the_native_forms() -> None:
    chat = line(request(user("hi")) | {"model": "anthropic/claude-4.5-sonnet"})
    params = {"max_tokens": 2000, "messages": [{"role": "user", "content": "hi"}]}
    assert convert(chat, ANTHROPIC) == {
        "custom_id": "a",
        "params": {"model": "claude-sonnet-4-5-20250929"} | params,
    }
    made = convert(chat, Target(Form.GEMINI, model="gemini-2.5-flash"))
    assert made == {
        "key": "a",
        "request": {
            "model": "models/gemini-2.5-flash",
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "generationConfig": {"maxOutputTokens": 2000},
        },
    }
    assert convert(made, Target(Form.ANTHROPIC, model="claude-sonnet-4-5"))["params"][
        "messages"
    ] == [{"role": "user", "content": "hi"}]


def test_lines_for_other_endpoints_that_mean_the_same() -> None:
    body = {"model": "claude-sonnet-4-5", "instructions": "Be brief.", "input": "hi"}
    made = convert(line(body | {"max_output_tokens": 9}, url="/v1/responses"), ANTHROPIC)
    assert made["params"]["messages"] == [{"role": "user", "content": "hi"}]
    assert made["params"]["max_tokens"] == 9
    around = line(CLAUDE["params"], url="/v1/messages")  # type: ignore[arg-type]
    assert convert(around, ANTHROPIC) == CLAUDE
    assert convert(around, OPENAI) == convert(CLAUDE, OPENAI)
    assert convert_line(around, Target(None)) == (around, ())


def test_what_has_the_form_already_stays_as_it_is() -> None:
    odd = b'{ "body":{"n":1.00},"custom_id": 5 }'
    assert convert_line(odd, OPENAI) == (odd, ())
    assert convert_line(odd, Target(None)) == (odd, ())
    made, _ = convert_line(odd, Target(None, model="m", provider="openai"))
    assert made == b'{"body":{"n":1.00,"model":"m"},"custom_id":5,"provider":"openai"}'
    embeddings = {"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "x"}}
    assert convert(embeddings, Target(None, model="e"))["body"] == {"input": "x", "model": "e"}


def claude(**params: Any) -> dict[str, Any]:
    return {"custom_id": "a", "params": CLAUDE["params"] | params}  # type: ignore[operator]


def google(**fields: Any) -> dict[str, Any]:
    held = {"model": "models/gemini-2.5-flash", "contents": [{"parts": [{"text": "hi"}]}]}
    return {"key": "a", "request": held | fields}


def turn(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return claude(messages=[{"role": role, "content": list(blocks)}])


REFUSED = {
    "not JSON": (b"{oops", "", "invalid_json"),
    "not UTF-8": (b'{"a": "\xff"}', "", "invalid_json"),
    "deep": (b'{"body":' + b"[" * 5000 + b"]" * 5000 + b"}", "", "nested_too_deeply"),
    "no known form": ({"custom_id": "a"}, "", "unknown_form"),
    "two forms": ({"body": {}, "params": {}}, "", "unknown_form"),
    "no id": ({"params": {}}, "custom_id", "missing_field"),
    "params no object": ({"custom_id": "a", "params": 5}, "params", "wrong_type"),
    "top_k": (claude(top_k=5), "params.top_k", "unsupported_parameter"),
    "a field besides": (CLAUDE | {"x": 1}, "x", "unsupported_parameter"),
    "streaming": (claude(stream=True), "params.stream", "streaming_unsupported"),
    "five stops": (
        claude(stop_sequences=list("abcde")),
        "params.stop_sequences",
        "unsupported_value",
    ),
    "a budget": (
        claude(thinking={"type": "enabled", "budget_tokens": 2000}),
        "params.thinking",
        "unsupported_parameter",
    ),
    "a server's tool": (
        claude(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        "params.tools[0].type",
        "unsupported_tool",
    ),
    "thoughts": (
        turn({"type": "thinking", "thinking": "x", "signature": "y"}, role="assistant"),
        "params.messages[0].content[0]",
        "unsupported_parameter",
    ),
    "a failed tool": (
        turn({"type": "tool_result", "tool_use_id": "t", "is_error": True}),
        "params.messages[0].content[0].is_error",
        "unsupported_parameter",
    ),
    "a stored file": (
        turn({"type": "document", "source": {"type": "file", "file_id": "f"}}),
        "params.messages[0].content[0].source.type",
        "unsupported_content",
    ),
    "a text behind a call": (
        turn(
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            {"type": "text", "text": "x"},
            role="assistant",
        ),
        "params.messages[0].content[1]",
        "unsupported_content",
    ),
    "safety settings": (
        google(safetySettings=[]),
        "request.safetySettings",
        "unsupported_parameter",
    ),
    "a search": (
        google(tools=[{"google_search": {}}]),
        "request.tools[0].googleSearch",
        "unsupported_parameter",
    ),
    "topK": (
        google(generationConfig={"topK": 3}),
        "request.generationConfig.topK",
        "unsupported_parameter",
    ),
    "a stored video": (
        google(contents=[{"parts": [{"fileData": {"fileUri": "https://x.googleapis.com/1"}}]}]),
        "request.contents[0].parts[0].fileData",
        "unsupported_content",
    ),
    "a response to no call": (
        google(contents=[{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]),
        "request.contents[0].parts[0].functionResponse",
        "tool_result_without_call",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_lost_is_refused_by_its_field(name: str) -> None:
    raw, field, reason = REFUSED[name]
    assert refused(raw, OPENAI) == (field, reason)


def test_what_has_no_native_form_is_refused() -> None:
    chat = line(request(user("hi")) | {"model": "gpt-4.1"})
    assert refused(chat, ANTHROPIC) == ("body.model", "model_of_another_provider")
    assert refused(chat, GEMINI) == ("body.model", "model_of_another_provider")
    embeddings = line({"model": "claude-sonnet-4-5", "input": "x"}, url="/v1/embeddings")
    assert refused(embeddings, ANTHROPIC) == ("url", "unsupported_endpoint")
    lossy = line(request(user("hi"), n=2) | {"model": "claude-sonnet-4-5"})
    assert refused(lossy, ANTHROPIC) == ("body.n", "unsupported_parameter")


def test_the_lenient_way_tells_what_it_left_out() -> None:
    raw = encode(claude(top_k=5, thinking={"type": "enabled", "budget_tokens": 2000}))
    made, notes = convert_line(raw, Target(Form.OPENAI, lenient=True))
    assert "top_k" not in json.loads(made)["body"]
    lost = {note.field for note in notes if note.weight == "lost"}
    assert lost == {"params.top_k", "params.thinking"}

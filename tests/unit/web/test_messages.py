"""Chat completions as Anthropic's messages: all of the answer, or none of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from core.providers.anthropic.translation.response import read_line
from services.web.anthropic.messages import Lossy, message_of

USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def completion(
    message: dict[str, Any] | None = None, finish: str = "stop", **others: Any
) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hello", "refusal": None} | (message or {}),
        "logprobs": None,
        "finish_reason": finish,
    }
    made = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4.1",
        "choices": [choice],
        "usage": USAGE,
    }
    ChatCompletion.model_validate(made)
    return made | others


def translated(made: dict[str, Any]) -> Message:
    encoded = msgspec.json.encode(message_of(msgspec.json.encode(made)))
    return Message.model_validate(msgspec.json.decode(encoded), strict=True)


def call(arguments: str, **others: Any) -> dict[str, Any]:
    function = {"name": "look", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function} | others


def test_an_answer_with_all_that_has_a_place() -> None:
    message = translated(
        completion(
            {"reasoning_content": "Hm.", "tool_calls": [call('{"at": [1.0, "x"]}')]}, "tool_calls"
        )
    )
    assert [each.type for each in message.content] == ["thinking", "text", "tool_use"]
    thought, text, use = message.content
    assert thought.type == "thinking"
    assert thought.thinking == "Hm."
    assert text.type == "text"
    assert text.text == "Hello"
    assert use.type == "tool_use"
    assert (use.id, use.name, use.input) == ("call_1", "look", {"at": [1.0, "x"]})
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (6, 4, 7)
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 3


def test_a_refusal() -> None:
    message = translated(completion({"content": None, "refusal": "No."}))
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert message.stop_details.explanation == "No."


CITED = {
    "type": "url_citation",
    "url_citation": {"url": "", "title": "", "start_index": 0, "end_index": 1},
}


def choosing(**choice: Any) -> dict[str, Any]:
    return completion() | {"choices": [{"message": {}} | choice]}


LOSSY = [
    ("choices", completion() | {"choices": []}),
    ("choices[0].logprobs", choosing(logprobs={"content": [1]})),
    ("choices[0].message.annotations", completion({"annotations": [CITED]})),
    (
        "choices[0].message.tool_calls[0].function.arguments",
        completion({"tool_calls": [call("no")]}),
    ),
    ("choices[0].finish_reason", choosing(finish_reason="odd")),
    ("native.candidates", completion(native={"finish_reasons": [], "candidates": [{"a": 1}]})),
    ("body", {"object": "list"}),
]


@pytest.mark.parametrize(("place", "made"), LOSSY, ids=[place for place, _ in LOSSY])
def test_what_would_lose_something_is_named(place: str, made: dict[str, Any]) -> None:
    with pytest.raises(Lossy) as lossy:
        translated(made)
    assert str(lossy.value) == place


def test_what_says_nothing_more_is_no_loss() -> None:
    native = {"finish_reasons": ["STOP"], "usage": {"totalTokenCount": 1}, "other_parts": None}
    assert translated(completion(native=native)).stop_reason == "end_turn"
    assert translated(completion({"annotations": [], "tool_calls": []})).content[0].type == "text"


def test_claudes_own_messages_come_back_whole() -> None:
    """By way of the translation that made chat completions of them."""
    sent = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"},
            {"type": "text", "text": "Hello", "citations": None},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}},
        ],
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
        "usage": {"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 2},
        "container": {"id": "container_1", "expires_at": "2026-11-28T00:00:00Z"},
    }
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": sent}}
    response = read_line(msgspec.json.encode(line), 1).response
    assert response is not None
    body = msgspec.json.decode(response)["body"]
    assert msgspec.json.decode(msgspec.json.encode(message_of(msgspec.json.encode(body)))) == sent

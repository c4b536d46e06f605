"""Chat completion requests for the translation's tests, and their translation, checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from anthropic.types.message_create_params import (
    MessageCreateParamsBase,
    MessageCreateParamsNonStreaming,
)
from anthropic.types.messages.batch_create_params import Request
from pydantic import TypeAdapter

from core.providers.catalogue import Model, find_model
from core.providers.translation import check_translation, translate_request

SONNET = find_model("anthropic", "claude-sonnet-4-5")
NEW_SONNET = find_model("anthropic", "claude-sonnet-5")
BETWEEN = find_model("anthropic", "claude-sonnet-5-5")
OPUS_46 = find_model("anthropic", "claude-opus-4-6")
ALWAYS = find_model("anthropic", "claude-fable-5-2")
UNKNOWN = find_model("anthropic", "anthropic/claude-of-tomorrow")
PLAIN = Model(id="old", structured=False, prefill=False)

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjQ="
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
WEATHER_TOOL = {
    "name": "weather",
    "description": "The weather.",
    "input_schema": WEATHER["function"]["parameters"],  # type: ignore[index]
}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9007199254740993}}}


def user(content: Any = "hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = "yes", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content} | more


def call(call_id: str, arguments: str = '{"place":"Oslo"}') -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }


def tool(call_id: str, content: Any = "cold") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def request(*messages: Any, **options: Any) -> dict[str, Any]:
    body = {"model": "anthropic/x", "messages": list(messages) or [user()], "max_tokens": 2000}
    return body | options


def encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def exhaust(value: Any) -> None:
    """The SDK's types hold iterables, which pydantic checks only as they are read."""
    if isinstance(value, Mapping):
        for item in value.values():
            exhaust(item)
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        for item in value:
            exhaust(item)


SDK_PARAMS = TypeAdapter(MessageCreateParamsNonStreaming)
SDK_REQUEST = TypeAdapter(Request)
SDK_KEYS = (
    MessageCreateParamsBase.__annotations__.keys()
    | MessageCreateParamsNonStreaming.__annotations__.keys()
    # Dropped by the SDK; models up to 4.6 take them under version 2023-06-01.
    | {"temperature", "top_p"}
)


def translate(
    body: dict[str, Any], model: Model = SONNET, *, lenient: bool = False
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Params, and field and reason of each note; checked against the SDK's types."""
    encoded, notes = translate_request(model, encode(body), lenient=lenient)
    assert b"\n" not in encoded
    params = json.loads(encoded)
    exhaust(SDK_PARAMS.validate_python(params))
    exhaust(SDK_REQUEST.validate_python({"custom_id": "a-b-1", "params": params}))
    assert params.keys() <= SDK_KEYS
    if not lenient:
        checked = check_translation(model, encode(body))
        assert [(n.field, n.reason) for n in checked] == [(n.field, n.reason) for n in notes]
    return params, [(note.field, note.reason) for note in notes]

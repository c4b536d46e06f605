"""Chat completion requests for the translation's tests, and their translation, checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import (
    MessageCreateParamsBase,
    MessageCreateParamsNonStreaming,
)
from anthropic.types.messages.batch_create_params import Request
from pydantic import TypeAdapter

from core.providers.anthropic.translation import check_plain, check_translation, translate_request
from core.providers.catalogue import Model, find_model
from core.providers.contract import LineRejected
from core.providers.translation import Note, PlainRequest

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
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "enum": [9007199254740993]}},
    "additionalProperties": False,
}


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


def calling(*calls: Any) -> dict[str, Any]:
    return assistant(None, tool_calls=list(calls))


def tool(call_id: str, content: Any = "cold") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def image(**fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": fields}


def function(**fields: Any) -> dict[str, Any]:
    """A tool, or the choice of one."""
    return {"type": "function", "function": fields}


def json_schema(**fields: Any) -> dict[str, Any]:
    """The format of an answer."""
    return {"type": "json_schema", "json_schema": fields}


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


def assert_short_way(body: dict[str, Any], model: Model, notes: Sequence[Note]) -> None:
    """The shortcut of the check at upload says the same of a body, or nothing."""
    try:
        short = check_plain(model, msgspec.json.decode(encode(body), type=PlainRequest))
    except msgspec.DecodeError:
        return
    assert short is None or list(short) == list(notes)


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
    assert list(check_translation(model, encode(body))) == list(notes)
    assert_short_way(body, model, notes)
    return params, [(note.field, note.reason) for note in notes]


def assert_refused(body: dict[str, Any], field: str, reason: str, model: Model = SONNET) -> None:
    """No mode sends the request, and the check at upload says so too."""
    for lenient in (False, True):
        with pytest.raises(LineRejected) as caught:
            translate_request(model, encode(body), lenient=lenient)
        assert (caught.value.field, caught.value.reason) == (field, reason)
        assert caught.value.message
    notes = check_translation(model, encode(body))
    assert_short_way(body, model, notes)
    last = notes[-1]
    assert (last.field, last.reason, last.weight) == (field, reason, "refused")


def assert_lost(
    body: dict[str, Any], field: str, reason: str, model: Model = SONNET
) -> dict[str, Any]:
    """Only the lenient mode sends the request, which gives the params that it sends."""
    with pytest.raises(LineRejected) as caught:
        translate_request(model, encode(body))
    assert (caught.value.field, caught.value.reason) == (field, reason)
    checked = check_translation(model, encode(body))
    assert_short_way(body, model, checked)
    lost = [note for note in checked if note.weight == "lost"]
    assert [(note.field, note.reason) for note in lost] == [(field, reason)]
    params, notes = translate(body, model, lenient=True)
    assert (field, reason) in notes
    return params

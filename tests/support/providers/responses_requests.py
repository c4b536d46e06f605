"""Requests for /v1/responses for the translation's tests, and what they become, checked."""

from __future__ import annotations

import json
import re
from typing import Any

from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from core.providers.catalogue import find_model
from core.providers.translation.report import Report
from core.providers.translation.responses import to_chat
from tests.support.providers.chat_requests import SCHEMA, encode, exhaust

SAME = (
    "model",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
)
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def as_responses(chat: dict[str, Any]) -> dict[str, Any] | None:
    """The same request for /v1/responses; None where that has no words for a part of it."""
    if {"max_tokens", "max_completion_tokens"} <= chat.keys() or "input_audio" in str(chat):
        return None
    body: dict[str, Any] = {}
    for key, value in chat.items():
        if key in SAME:
            body[key] = value
        elif key == "messages":
            body["input"] = [item for message in value for item in items_of(message)]
        elif key in ("max_tokens", "max_completion_tokens"):
            body["max_output_tokens"] = value
        elif key == "reasoning_effort":
            body["reasoning"] = {"effort": value}
        elif key == "tools":
            body["tools"] = [{"type": each["type"]} | each[each["type"]] for each in value]
        elif key == "tool_choice":
            named = isinstance(value, dict)
            body["tool_choice"] = {"type": "function"} | value["function"] if named else value
        elif key == "response_format":
            body["text"] = {"format": {"type": value["type"]} | value.get("json_schema", {})}
        else:
            return None
    return body


def items_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The items that a message of a chat completion stands for."""
    role, content = message["role"], message.get("content")
    if role == "tool":
        output = content if isinstance(content, str) else [_part(each, role) for each in content]
        return [
            {
                "type": "function_call_output",
                "call_id": message["tool_call_id"],
                "output": output,
            }
        ]
    items: list[dict[str, Any]] = []
    if isinstance(content, list):
        content = [_part(each, role) for each in content]
    if message.get("refusal"):
        content = [{"type": "refusal", "refusal": message["refusal"]}]
    if content is not None:
        items.append({"role": role, "content": content})
        if "name" in message:
            items[0]["name"] = message["name"]
    items += [
        {"type": "function_call", "call_id": call["id"], **call["function"]}
        for call in message.get("tool_calls", ())
    ]
    return items


def _part(part: dict[str, Any], role: str) -> dict[str, Any]:
    if part["type"] == "text":
        kind = "output_text" if role == "assistant" else "input_text"
        return {"type": kind, "text": part["text"]}
    if part["type"] == "image_url":
        image = part["image_url"]
        rest = {"detail": image["detail"]} if "detail" in image else {}
        return {"type": "input_image", "image_url": image["url"]} | rest
    return {"type": "input_file"} | part["file"] if part["type"] == "file" else part


def resolves(body: dict[str, Any], path: str) -> bool:
    """Whether a path, such as "body.input[2].content", leads to something in the body."""
    value: Any = body
    for name, index in _STEP.findall(path.removeprefix("body")):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return False
    return True


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

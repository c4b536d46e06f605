"""Responses requests to chat completion requests.

Numbers and schemas are passed on as the bytes that came. What chat completions cannot say is
refused with the path of the field (strict), or dropped and told (lenient).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.translation.report import Report, decode
from core.providers.translation.responses.items import Messages
from core.providers.translation.responses.options import (
    TRANSLATED,
    Fields,
    add_reasoning,
    add_text,
    present,
    settle_untranslated,
)
from core.providers.translation.responses.origins import Origins
from core.providers.translation.responses.tools import function_tools, tool_choice

LimitField: TypeAlias = Literal["max_tokens", "max_completion_tokens"]
"""What a server calls the limit of an answer's tokens: OpenAI's newer name, or the older one,
which some servers alone know (Mistral, Ollama) and OpenAI's reasoning models refuse."""

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_input = msgspec.json.Decoder(str | list[dict[str, Any]])
_encoder = msgspec.json.Encoder()

_SAME = ("model", "temperature", "top_p", "stream")
"""Fields that chat completions have as well, with the same meaning."""


class ChatRequest(NamedTuple):
    """A chat completion request that was made of a Responses request."""

    body: bytes
    """JSON without a newline."""
    origins: Origins
    """Where its parts stood: what is said of it is to be said with these paths."""


def to_chat(
    body: bytes | Raw,
    report: Report,
    *,
    limit_field: LimitField = "max_completion_tokens",
    passes_user: bool = False,
) -> ChatRequest:
    """Turn the body of a Responses request into that of a chat completion.

    `passes_user`: keep `user`, which some servers refuse and most take no notice of. What is
    lost or changed on the way is told to the report. Raises LineRejected.
    """
    try:
        fields = _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineRejected("body", "invalid_json", f"The body is unreadable: {error}") from None
    given = present(fields)
    for key in given:
        if key not in TRANSLATED and not (passes_user and key == "user"):
            settle_untranslated(key, given[key], report)
    origins = Origins()
    chat: dict[str, Any] = {key: given[key] for key in _SAME if key in given}
    if passes_user and "user" in given:
        chat["user"] = given["user"]
    chat["messages"] = _messages(given, origins, report)
    if "max_output_tokens" in given:
        chat[limit_field] = given["max_output_tokens"]
    _add_tools(chat, given, report)
    if "text" in given:
        add_text(chat, given["text"], report)
    if "reasoning" in given:
        add_reasoning(chat, given["reasoning"], report)
    return ChatRequest(_encoder.encode(chat), origins)


def _add_tools(chat: dict[str, Any], given: Fields, report: Report) -> None:
    tools = function_tools(given["tools"], report) if "tools" in given else []
    choice = tool_choice(given["tool_choice"]) if "tool_choice" in given else None
    if tools:
        chat["tools"] = tools
        if choice is not None:
            chat["tool_choice"] = choice
        if "parallel_tool_calls" in given:
            chat["parallel_tool_calls"] = given["parallel_tool_calls"]
    elif choice not in (None, "auto", "none"):
        path = "body.tool_choice"
        raise LineRejected(path, "missing_tools", f"{path} asks for a tool: none is given.")


def _messages(given: Fields, origins: Origins, report: Report) -> list[dict[str, Any]]:
    messages = Messages(origins, report)
    if "instructions" in given:
        path = "body.instructions"
        messages.say("system", decode(_text, given["instructions"], path, "a string"), path)
    path = "body.input"
    if "input" not in given:
        raise LineRejected(path, "missing_field", "input is needed.")
    items = decode(_input, given["input"], path, "a string or a list of items")
    if isinstance(items, str):
        messages.say("user", items, path)
        return messages.made
    for index, item in enumerate(items):
        messages.add(f"{path}[{index}]", item)
    if not items:
        raise LineRejected(path, "missing_user_message", "An item at least is needed.")
    return messages.made

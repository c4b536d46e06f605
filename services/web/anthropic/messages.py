"""Chat completions as Anthropic's messages, where nothing of the answer is lost.

What a message of Anthropic lost on its way to a chat completion stands under `native` (see
docs/results.md), and is put back. Sources: openai 3.54.0 types/chat/chat_completion.py; anthropic
2.12.0 types/message.py, types/usage.py, types/stop_reason.py.
"""

from __future__ import annotations

from typing import Any

import msgspec

Raw = msgspec.Raw
Block = dict[str, Any]

_STOP_REASONS = {
    "stop": "end_turn",
    "eos": "end_turn",
    "length": "max_tokens",
    "model_length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
# Of `native`: what every answer of Gemini has, and says nothing that a message does not say.
_SAID_OTHERWISE = frozenset({"finish_reasons", "usage"})
_NOTHING = (b"null", b"[]", b"{}")


class Lossy(Exception):
    """Some of it has no place in a message. `str`: where it stands."""


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _Function
    type: str = "function"


class _Answer(msgspec.Struct):
    content: Any = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    annotations: Any = None
    audio: Any = None
    function_call: Any = None
    reasoning_details: Any = None
    images: Any = None


class _Choice(msgspec.Struct):
    message: _Answer
    finish_reason: str | None = None
    logprobs: Any = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None
    native: dict[str, Raw] | None = None


_decode = msgspec.json.Decoder(_Completion).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode


def message_of(body: bytes | Raw) -> dict[str, Any]:
    """A message, to be encoded. Raises Lossy."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Lossy("body") from None
    if len(found.choices) != 1:
        raise Lossy("choices")
    [choice] = found.choices
    message: dict[str, Any] = {
        "id": found.id or "",
        "type": "message",
        "role": "assistant",
        "model": found.model or "",
        "content": _content(choice),
        "stop_reason": _STOP_REASONS.get(choice.finish_reason or ""),
        "stop_sequence": None,
        "usage": _usage(found.usage or _Usage()),
    }
    native = found.native or {}
    if "stop_reason" in native:
        # It was a message of Anthropic.
        return message | native
    for key, value in native.items():
        if key not in _SAID_OTHERWISE and bytes(value) not in _NOTHING:
            raise Lossy(f"native.{key}")
    if message["stop_reason"] is None:
        raise Lossy("choices[0].finish_reason")
    if choice.message.refusal:
        message["stop_reason"] = "refusal"
        message["stop_details"] = {
            "type": "refusal",
            "category": None,
            "explanation": choice.message.refusal,
        }
    return message


def _content(choice: _Choice) -> list[Block]:
    answer = choice.message
    lost = {
        "choices[0].logprobs": choice.logprobs,
        "choices[0].message.annotations": answer.annotations,
        "choices[0].message.audio": answer.audio,
        "choices[0].message.function_call": answer.function_call,
        "choices[0].message.reasoning_details": answer.reasoning_details,
        "choices[0].message.images": answer.images,
    }
    for place, value in lost.items():
        if value:
            raise Lossy(place)
    blocks: list[Block] = []
    if answer.reasoning_content:
        # Nobody has signed it: it is there to be read, and cannot be sent back.
        blocks.append({"type": "thinking", "thinking": answer.reasoning_content, "signature": ""})
    if isinstance(answer.content, str):
        blocks.append(_text(answer.content))
    elif answer.content is not None:
        raise Lossy("choices[0].message.content")
    elif answer.refusal:
        blocks.append(_text(answer.refusal))
    for index, call in enumerate(answer.tool_calls or ()):
        blocks.append(_tool_use(call, f"choices[0].message.tool_calls[{index}]"))
    return blocks


def _text(text: str) -> Block:
    return {"type": "text", "text": text, "citations": None}


def _tool_use(call: _Call, place: str) -> Block:
    if call.type != "function":
        raise Lossy(f"{place}.type")
    try:
        given = _object(call.function.arguments or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A model may write anything; a message has an object here.
        raise Lossy(f"{place}.function.arguments") from None
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": given}


def _usage(usage: _Usage) -> dict[str, Any]:
    prompt = usage.prompt_tokens_details or _PromptDetails()
    read, written = prompt.cached_tokens or 0, prompt.cache_write_tokens or 0
    output = usage.completion_tokens_details or _OutputDetails()
    return {
        # Anthropic counts the cache apart.
        "input_tokens": max(0, usage.prompt_tokens - read - written),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": output.reasoning_tokens or 0},
    }

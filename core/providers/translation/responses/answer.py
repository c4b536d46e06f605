"""Chat completions to Responses.

Sources: openai 3.54 types/responses/response.py and types/chat/chat_completion.py. What a
Response repeats of its request is not known when answers are read: those members that have to
be there have OpenAI's defaults, the others are null. Members of a chat completion that OpenAI
does not have, such as `native`, stay where they are.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from core.providers.finish_reasons import OPENAI
from core.providers.parsing import count_of

NULL = Raw(b"null")

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""What an answer that broke off has as finish_reason, to incomplete_details.reason."""

_PREFIXES = ("chatcmpl-", "msg_", "resp_")
_CHAT = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"}
)
"""Members of a chat completion that are translated, or say nothing in a Response."""
_TIERS = frozenset({"auto", "default", "fast", "flex", "priority", "scale", "ultrafast"})


class _Function(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    id: Any = None
    function: _Function | None = None
    extra_content: Any = None


class _Message(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    annotations: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Any = None


class _Chat(msgspec.Struct):
    choices: list[_Choice]
    id: Any = None
    created: Any = None
    model: Any = None
    usage: Any = None


_chat = msgspec.json.Decoder(_Chat)
_fields = msgspec.json.Decoder(dict[str, Raw])
_encoder = msgspec.json.Encoder()


def from_chat(body: bytes | Raw, fallback_id: str) -> bytes | None:
    """Turn a chat completion into a Response; None for a body that is none with an answer.

    `fallback_id`: for the answer of a server that gives no ids.
    """
    try:
        chat, fields = _chat.decode(body), _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not chat.choices:
        return None
    # Responses have no `n`: nobody has asked for a second one.
    choice = chat.choices[0]
    base = chat.id if isinstance(chat.id, str) and chat.id else fallback_id
    for prefix in _PREFIXES:
        base = base.removeprefix(prefix)
    reason = choice.finish_reason
    cut = INCOMPLETE.get(OPENAI.get(reason, "")) if isinstance(reason, str) else None
    status = "incomplete" if cut else "completed"
    response: dict[str, Any] = {
        "id": f"resp_{base}",
        "object": "response",
        "created_at": chat.created if isinstance(chat.created, (int, float)) else 0,
        "status": status,
        "background": None,
        "error": None,
        "incomplete_details": {"reason": cut} if cut else None,
        "instructions": None,
        "max_output_tokens": None,
        "model": chat.model if isinstance(chat.model, str) else "",
        "output": _output(choice.message, base, status),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": None,
        "temperature": None,
        "text": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": None,
        "usage": _usage(chat.usage),
        "metadata": None,
    }
    if (tier := _tier(fields)) is not None:
        response["service_tier"] = tier
    for key, raw in fields.items():
        if key not in _CHAT and key not in response:
            response[key] = raw
    return _encoder.encode(response)


def _output(message: _Message, base: str, status: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    text, thoughts, others = _texts_of(message)
    if thoughts:
        summary = [{"type": "summary_text", "text": thoughts}]
        items.append({"id": f"rs_{base}", "type": "reasoning", "summary": summary})
    calls = message.tool_calls or []
    if not calls and message.function_call is not None:
        calls = [_ToolCall(f"call_{base}", message.function_call)]
    content: list[dict[str, Any]] = []
    refusal = message.refusal if isinstance(message.refusal, str) and message.refusal else None
    # An empty text is a text, but for beside what says more.
    if text is not None and text != refusal and (text or not (refusal or calls)):
        found = _annotations(message.annotations)
        content.append({"type": "output_text", "text": text, "annotations": found, "logprobs": []})
    if refusal:
        content.append({"type": "refusal", "refusal": refusal})
    if content or others:
        item = {
            "id": f"msg_{base}",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }
        if others:
            item["other_content"] = others
        items.append(item)
    items += [_call(call, f"fc_{base}_{n}", status) for n, call in enumerate(calls)]
    return items


def _texts_of(message: _Message) -> tuple[str | None, str, list[Any]]:
    """What was said, if anything; what was thought; parts of a content that are neither."""
    thoughts = message.reasoning_content or message.reasoning
    thought = [thoughts] if isinstance(thoughts, str) else []
    if not isinstance(message.content, list):
        text = message.content if isinstance(message.content, str) else None
        return text, "".join(thought), []
    # Mistral's reasoning models answer in parts.
    texts: list[str] = []
    others: list[Any] = []
    for part in message.content:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "thinking", "thinking": [*inner]}:
                thought += [t for each in inner if (t := _text_of(each)) is not None]
            case _:
                others.append(part)
    return "".join(texts) or None, "".join(thought), others


def _text_of(part: Any) -> str | None:
    match part:
        case {"text": str(text)}:
            return text
    return None


def _call(call: _ToolCall, item_id: str, status: str) -> dict[str, Any]:
    function = call.function or _Function()
    item: dict[str, Any] = {
        "id": item_id,
        "type": "function_call",
        "status": status,
        # Some servers give none: it binds an output to its call, so it is one of our own.
        "call_id": call.id if isinstance(call.id, str) and call.id else f"call_{item_id}",
        "name": function.name if isinstance(function.name, str) else "",
        "arguments": _arguments(function.arguments),
    }
    if call.extra_content is not None:
        item["extra_content"] = call.extra_content
    return item


def _arguments(given: Any) -> str:
    if isinstance(given, str):
        return given
    # Ollama and Mistral have been seen to give an object.
    return "" if given is None else _encoder.encode(given).decode()


def _annotations(given: Any) -> list[dict[str, Any]]:
    found = []
    for each in given if isinstance(given, list) else ():
        match each:
            case {
                "type": "url_citation",
                "url_citation": {
                    "start_index": int(start),
                    "end_index": int(end),
                    "url": str(url),
                    "title": str(title),
                },
            }:
                found.append(
                    {
                        "type": "url_citation",
                        "start_index": start,
                        "end_index": end,
                        "url": url,
                        "title": title,
                    }
                )
    return found


def _usage(given: Any) -> dict[str, Any] | None:
    if not isinstance(given, dict):
        return None
    prompt, output = count_of(given.get("prompt_tokens")), count_of(given.get("completion_tokens"))
    of_prompt, of_output = "prompt_tokens_details", "completion_tokens_details"
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": _detail(given.get(of_prompt), "cached_tokens"),
            "cache_write_tokens": _detail(given.get(of_prompt), "cache_write_tokens"),
        },
        "output_tokens": output,
        "output_tokens_details": {
            "reasoning_tokens": _detail(given.get(of_output), "reasoning_tokens")
        },
        "total_tokens": prompt + output,
    }


def _detail(details: Any, name: str) -> int:
    return count_of(details.get(name)) if isinstance(details, dict) else 0


def _tier(fields: dict[str, Raw]) -> str | None:
    try:
        tier = msgspec.json.decode(fields.get("service_tier", NULL))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return tier if isinstance(tier, str) and tier in _TIERS else None

"""Anthropic's messages, and the chat completions that they become.

Sources: anthropic 2.12.0 types/message.py, types/content_block.py, types/tool_use_block.py;
openai 3.54.0 types/chat/chat_completion.py. A field in a form that nobody knows must never cost
the line: what a chat completion has no field for, and what is not understood, stays under
"native".
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from core.prices.usage import Usage
from core.providers.anthropic.usage import read_usage
from core.providers.translation.completion import (
    Answer,
    Choice,
    Completion,
    Function,
    Tokens,
    ToolCall,
)

Raw = msgspec.Raw
NULL = Raw(b"null")
Loose = str | list[Any] | int | float | bool | None


class Block(msgspec.Struct, gc=False):
    """A content block of any type."""

    type: str = ""
    text: Any = None
    thinking: Any = None
    id: Any = None
    name: Any = None
    input: Raw = NULL


class _DirectCaller(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    type: Literal["direct"]


class _KnownBlock(Block, gc=False, kw_only=True, forbid_unknown_fields=True):
    """One of the common types; of the first two a chat completion loses nothing."""

    type: Literal["text", "tool_use", "thinking", "redacted_thinking"]
    citations: None = None
    caller: _DirectCaller | None = None
    signature: Any = None
    data: Any = None


class Message(msgspec.Struct, gc=False):
    """A message in any form that can be read."""

    id: str = ""
    model: str = ""
    content: tuple[Block, ...] | None = None
    stop_reason: Any = None
    stop_sequence: Any = None
    stop_details: Any = None
    usage: Raw = NULL


class _KnownMessage(Message, gc=False, kw_only=True, forbid_unknown_fields=True):
    """One without a member that a chat completion has no field for, but for its content."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: tuple[_KnownBlock, ...]
    stop_details: None = None
    container: None = None
    diagnostics: None = None


class PlainBlock(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A text, as JSON: it need not be read to be passed on."""

    type: Literal["text"]
    text: Raw
    citations: None = None


class PlainMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One text, which most messages are, in a message that a chat completion has fields for."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: tuple[PlainBlock]
    stop_reason: str
    id: str = ""
    model: str = ""
    stop_sequence: Any = None
    usage: Raw = NULL
    stop_details: None = None
    container: None = None
    diagnostics: None = None


class _Content(msgspec.Struct, gc=False):
    content: Raw


class _Native(msgspec.Struct, gc=False):
    stop_reason: Any
    stop_sequence: Any
    usage: Raw


_known_message = msgspec.json.Decoder(_KnownMessage)
_message = msgspec.json.Decoder(Message)
_fields = msgspec.json.Decoder(dict[str, Raw])
_content = msgspec.json.Decoder(_Content)
_known_blocks = msgspec.json.Decoder(list[_KnownBlock])

_TRANSLATED = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
)


def read_message(raw: Raw) -> tuple[Message, dict[str, Raw]]:
    """A message, and those of its members that a chat completion has no field for.

    Raises msgspec.DecodeError, UnicodeDecodeError, RecursionError for what is none.
    """
    try:
        return _known_message.decode(raw), {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = _message.decode(raw)
    fields = _fields.decode(raw)
    others = {
        key: value for key, value in fields.items() if key not in _TRANSLATED and value != NULL
    }
    content = fields.get("content", NULL)
    try:
        _known_blocks.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        others["content"] = content
    return message, others


def translate_message(
    message: Message, raw: Raw, others: dict[str, Raw], finish: str, created: int
) -> tuple[Completion, Usage]:
    """Turn a message into a chat completion.

    `raw`: the message; `others`: what of it has no field; `finish`: OpenAI's finish_reason.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    signed = False
    for block in message.content or ():
        if block.type == "text" and isinstance(block.text, str):
            texts.append(block.text)
        elif block.type == "tool_use":
            calls.append(_tool_call(block))
        else:
            signed = True
            if block.type == "thinking" and isinstance(block.thinking, str):
                thoughts.append(block.thinking)
    if signed and "content" not in others:
        # All of it: to go on with the conversation takes every block, in order.
        others["content"] = _content.decode(raw).content
    refused = finish == "content_filter"
    # As at OpenAI: null only beside a call or a refusal.
    content = "".join(texts) if texts or not (calls or refused) else None
    answer = Answer(
        content=content,
        refusal=_refusal(message, content) if refused else None,
        role="assistant",
        tool_calls=calls or None,
        reasoning_content="".join(thoughts) or None,
    )
    return _completion(message, answer, others, finish, created)


def translate_plain(message: PlainMessage, finish: str, created: int) -> tuple[Completion, Usage]:
    """The same of a message that is one text."""
    answer = Answer(role="assistant", content=message.content[0].text, refusal=None)
    return _completion(message, answer, {}, finish, created)


def _completion(
    message: Message | PlainMessage,
    answer: Answer,
    others: dict[str, Raw],
    finish: str,
    created: int,
) -> tuple[Completion, Usage]:
    usage = read_usage(message.usage)
    native: Any = _Native(message.stop_reason, message.stop_sequence, message.usage)
    if others:
        native = msgspec.structs.asdict(native) | others
    completion = Completion(
        id=message.id,
        created=created,
        model=message.model,
        choices=[Choice(index=0, message=answer, finish_reason=finish)],
        usage=Tokens.of(usage, writes_caches=True),
        native=native,
    )
    return completion, usage


def _tool_call(block: Block) -> ToolCall:
    arguments = "{}" if block.input == NULL else bytes(block.input).decode()
    return ToolCall(
        id=block.id if isinstance(block.id, str) else "",
        type="function",
        function=Function(block.name if isinstance(block.name, str) else "", arguments),
    )


def _refusal(message: Message, content: str | None) -> str:
    details = message.stop_details
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return (
        explanation
        if isinstance(explanation, str) and explanation
        else content or "The model refused to answer."
    )

"""The conversation: a system prompt and turns of blocks to chat completion messages."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.translation.report import IGNORED, Report, decode, wrong_type

Fields = dict[str, Raw]
Message = dict[str, Any]

NULL = Raw(b"null")

_turns: msgspec.json.Decoder[list[Fields]] = msgspec.json.Decoder(list[Fields])
_content: msgspec.json.Decoder[str | list[Fields]] = msgspec.json.Decoder(str | list[Fields])
_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool)

_EXPECTED = "a string or a list of content blocks"


def chat_messages(raw: Raw, system: Raw | None, report: Report) -> list[Message]:
    """The messages of a conversation, the system prompt first. Raises LineRejected."""
    messages: list[Message] = []
    if system is not None:
        messages += _system(decode(_content, system, "params.system", _EXPECTED), report)
    turns = decode(_turns, raw, "params.messages", "a list of message objects")
    for index, turn in enumerate(turns):
        path = f"params.messages[{index}]"
        known_only(path, turn, {"role", "content"}, report)
        role = decode(_text, turn.get("role", NULL), f"{path}.role", "a string")
        content = decode(_content, turn.get("content", NULL), f"{path}.content", _EXPECTED)
        if role not in ("user", "assistant"):
            raise LineRejected(f"{path}.role", "unsupported_role", "Not user or assistant.")
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
        elif role == "user":
            messages += _user(f"{path}.content", content, report)
        else:
            messages.append(_assistant(f"{path}.content", content, report))
    return messages


def _system(content: str | list[Fields], report: Report) -> list[Message]:
    if isinstance(content, str):
        return [{"role": "system", "content": content}] if content else []
    parts = [
        _text_part(f"params.system[{index}]", block, report) for index, block in enumerate(content)
    ]
    return [{"role": "system", "content": parts}] if parts else []


def _user(path: str, blocks: list[Fields], report: Report) -> list[Message]:
    """Messages with the results of tools, and one with the rest, if there is any."""
    results: list[Message] = []
    parts: list[Message] = []
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        kind = _kind(where, block)
        if kind == "tool_result":
            if parts:
                raise LineRejected(where, "unsupported_content", "Results of tools come first.")
            results.append(_tool_result(where, block, report))
        elif kind == "text":
            parts.append(_text_part(where, block, report))
        elif kind == "image":
            known_only(where, block, {"type", "source"}, report)
            parts.append({"type": "image_url", "image_url": {"url": _image(where, block)}})
        elif kind == "document":
            parts.append(_document(where, block, report))
        else:
            raise LineRejected(f"{where}.type", "unsupported_content", f"{kind}: no equivalent.")
    return results + ([{"role": "user", "content": parts}] if parts else [])


def _assistant(path: str, blocks: list[Fields], report: Report) -> Message:
    parts: list[Message] = []
    calls: list[Message] = []
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        kind = _kind(where, block)
        if kind == "text":
            if calls:
                raise LineRejected(where, "unsupported_content", "A text behind a call of a tool.")
            parts.append(_text_part(where, block, report))
        elif kind == "tool_use":
            calls.append(_call(where, block, report))
        elif kind in ("thinking", "redacted_thinking"):
            report.lose(where, "Thoughts cannot be sent back in OpenAI's form.")
        else:
            raise LineRejected(f"{where}.type", "unsupported_content", f"{kind}: no equivalent.")
    if not parts and not calls:
        raise wrong_type(path, "a text or a call of a tool")
    message: Message = {"role": "assistant", "content": parts or None}
    if calls:
        if len(parts) == 1:
            message["content"] = parts[0]["text"]
        message["tool_calls"] = calls
    return message


def _call(path: str, block: Fields, report: Report) -> Message:
    known_only(path, block, {"type", "id", "name", "input", "caller"}, report)
    arguments = block.get("input", NULL)
    decode(_fields, arguments, f"{path}.input", "an object")
    return {
        "id": _string(path, block, "id"),
        "type": "function",
        "function": {"name": _string(path, block, "name"), "arguments": bytes(arguments).decode()},
    }


def _tool_result(path: str, block: Fields, report: Report) -> Message:
    known_only(path, block, {"type", "tool_use_id", "content", "is_error"}, report)
    failed = decode(_flag, block.get("is_error", Raw(b"false")), f"{path}.is_error", "a boolean")
    if failed:
        report.lose(f"{path}.is_error", "OpenAI's form does not tell a failed call.")
    content: Any = ""
    if "content" in block:
        content = decode(_content, block["content"], f"{path}.content", _EXPECTED)
    if not isinstance(content, str):
        content = [
            _text_part(f"{path}.content[{index}]", each, report)
            for index, each in enumerate(content)
        ]
    call_id = _string(path, block, "tool_use_id")
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _text_part(path: str, block: Fields, report: Report) -> Message:
    if (kind := _kind(path, block)) != "text":
        raise LineRejected(f"{path}.type", "unsupported_content", f"{kind} stands in no text.")
    known_only(path, block, {"type", "text"}, report)
    return {"type": "text", "text": _string(path, block, "text")}


def _image(path: str, block: Fields) -> str:
    source = decode(_fields, block.get("source", NULL), f"{path}.source", "an object")
    if source.get("type") == Raw(b'"url"'):
        return _string(f"{path}.source", source, "url")
    return _data_url(f"{path}.source", source)


def _document(path: str, block: Fields, report: Report) -> Message:
    known_only(path, block, {"type", "source", "title"}, report)
    source = decode(_fields, block.get("source", NULL), f"{path}.source", "an object")
    file = {"file_data": _data_url(f"{path}.source", source)}
    if block.get("title", NULL) != NULL:
        file["filename"] = _string(path, block, "title")
    return {"type": "file", "file": file}


def _data_url(path: str, source: Fields) -> str:
    if source.get("type") != Raw(b'"base64"'):
        raise LineRejected(
            f"{path}.type", "unsupported_content", "Only what is in the line itself has a place."
        )
    media_type = _string(path, source, "media_type")
    return f"data:{media_type};base64,{_string(path, source, 'data')}"


def _kind(path: str, block: Fields) -> str:
    return _string(path, block, "type")


def _string(path: str, block: Fields, key: str) -> str:
    if key not in block:
        raise wrong_type(f"{path}.{key}", "a string")
    return decode(_text, block[key], f"{path}.{key}", "a string")


def known_only(path: str, given: Fields, known: set[str], report: Report) -> None:
    """Lose every other key that says something; hints about caching have no effect."""
    for key, value in given.items():
        if value == NULL or key in known:
            continue
        if key == "cache_control":
            report.note(f"{path}.{key}", IGNORED, f"{key} has no effect on the answer.")
        else:
            report.lose(f"{path}.{key}")

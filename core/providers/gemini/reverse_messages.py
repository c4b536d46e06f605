"""The conversation: Gemini's system instruction and contents to chat completion messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.gemini.content import AUDIO_TYPES, IMAGE_TYPES
from core.providers.gemini.messages import FOREIGN_SIGNATURE
from core.providers.translation.report import Report, decode, wrong_type

Fields = dict[str, Raw]
Message = dict[str, Any]

NULL = Raw(b"null")

_fields = msgspec.json.Decoder(Fields)
_list: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool)

_FORMATS = {media_type: name for name, media_type in AUDIO_TYPES.items()} | {"audio/mpeg": "mp3"}
_ROLES = {"user": "user", "model": "assistant", "function": "user", "": "user"}


def camel(name: str) -> str:
    """A field's name as JSON has it, where it may be written in the way of protobuf."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def fields(raw: Raw, path: str) -> Fields:
    """An object's fields that say something, by their names in JSON. Raises LineRejected."""
    given = decode(_fields, raw, path, "an object")
    return {camel(key): value for key, value in given.items() if value != NULL}


def only(path: str, given: Fields, known: Collection[str], report: Report) -> None:
    """Lose what is not known. Raises LineRejected."""
    for key in given:
        if key not in known:
            report.lose(f"{path}.{key}")


def chat_messages(contents: Raw, system: Raw | None, report: Report) -> list[Message]:
    """The messages of a conversation, the system instruction first. Raises LineRejected."""
    talk = _Talk(report)
    if system is not None:
        talk.instruct("request.systemInstruction", system)
    turns = decode(_list, contents, "request.contents", "a list of contents")
    for index, content in enumerate(turns):
        talk.add(f"request.contents[{index}]", content)
    return talk.messages


class _Talk:
    def __init__(self, report: Report) -> None:
        self.messages: list[Message] = []
        self._report = report
        self._open: list[tuple[str, str]] = []
        """Calls without a result yet: function and id."""
        self._calls = 0

    def instruct(self, path: str, raw: Raw) -> None:
        given = fields(raw, path)
        only(path, given, {"role", "parts"}, self._report)
        parts = [self._text(where, part) for where, part in self._parts(path, given)]
        if len(parts) == 1:
            self.messages.append({"role": "system", "content": parts[0]})
        elif parts:
            content = [{"type": "text", "text": text} for text in parts]
            self.messages.append({"role": "system", "content": content})

    def add(self, path: str, raw: Raw) -> None:
        given = fields(raw, path)
        only(path, given, {"role", "parts"}, self._report)
        role = decode(_text, given.get("role", Raw(b'""')), f"{path}.role", "a string")
        if role not in _ROLES:
            raise LineRejected(f"{path}.role", "unsupported_role", "Not user or model.")
        if _ROLES[role] == "user":
            self._add_user(path, given)
        else:
            self._add_model(path, given)

    def _add_user(self, path: str, given: Fields) -> None:
        content: list[Message] = []
        for where, part in self._parts(path, given):
            if "functionResponse" in part:
                if content:
                    raise LineRejected(where, "unsupported_content", "Responses come first.")
                self.messages.append(self._response(where, part))
            else:
                content.append(self._user_part(where, part))
        if len(content) == 1 and content[0]["type"] == "text":
            self.messages.append({"role": "user", "content": content[0]["text"]})
        elif content:
            self.messages.append({"role": "user", "content": content})

    def _add_model(self, path: str, given: Fields) -> None:
        texts: list[str] = []
        calls: list[Message] = []
        for where, part in self._parts(path, given):
            if "thought" in part and decode(_flag, part.pop("thought"), where, "a boolean"):
                self._report.lose(f"{where}.thought", "Thoughts cannot be sent back.")
            elif "functionCall" in part:
                calls.append(self._call(where, part))
            elif calls:
                raise LineRejected(where, "unsupported_content", "A text behind a call.")
            else:
                texts.append(self._text(where, part))
        if not texts and not calls:
            raise wrong_type(f"{path}.parts", "a text or a call of a function")
        content: Any = [{"type": "text", "text": text} for text in texts] or None
        message: Message = {
            "role": "assistant",
            "content": texts[0] if len(texts) == 1 else content,
        }
        if calls:
            message["tool_calls"] = calls
        self.messages.append(message)

    def _parts(self, path: str, given: Fields) -> list[tuple[str, Fields]]:
        parts = decode(_list, given.get("parts", NULL), f"{path}.parts", "a list of parts")
        places = [f"{path}.parts[{index}]" for index in range(len(parts))]
        return [(where, fields(part, where)) for where, part in zip(places, parts, strict=True)]

    def _text(self, path: str, part: Fields) -> str:
        if "text" not in part:
            raise LineRejected(path, "unsupported_content", f"{path} has to be a text.")
        only(path, part, {"text"}, self._report)
        return decode(_text, part["text"], f"{path}.text", "a string")

    def _user_part(self, path: str, part: Fields) -> Message:
        if "inlineData" in part:
            only(path, part, {"inlineData"}, self._report)
            return self._inline(f"{path}.inlineData", part["inlineData"])
        if "fileData" in part:
            only(path, part, {"fileData"}, self._report)
            return self._linked(f"{path}.fileData", part["fileData"])
        return {"type": "text", "text": self._text(path, part)}

    def _inline(self, path: str, raw: Raw) -> Message:
        given = fields(raw, path)
        only(path, given, {"mimeType", "data"}, self._report)
        kind, data = (_string(path, given, key) for key in ("mimeType", "data"))
        if kind in _FORMATS:
            return {"type": "input_audio", "input_audio": {"data": data, "format": _FORMATS[kind]}}
        url = f"data:{kind};base64,{data}"
        if kind in IMAGE_TYPES:
            return {"type": "image_url", "image_url": {"url": url}}
        if kind == "application/pdf" or kind.startswith("text/"):
            return {"type": "file", "file": {"file_data": url}}
        raise LineRejected(f"{path}.mimeType", "unsupported_media_type", f"{kind}: no equivalent.")

    def _linked(self, path: str, raw: Raw) -> Message:
        given = fields(raw, path)
        only(path, given, {"mimeType", "fileUri"}, self._report)
        url = _string(path, given, "fileUri")
        kind = _string(path, given, "mimeType") if "mimeType" in given else ""
        if kind not in IMAGE_TYPES or not url.startswith("https://") or "googleapis.com" in url:
            raise LineRejected(path, "unsupported_content", "Only images at https addresses.")
        return {"type": "image_url", "image_url": {"url": url}}

    def _call(self, path: str, part: Fields) -> Message:
        only(path, part, {"functionCall", "thoughtSignature"}, self._report)
        where = f"{path}.functionCall"
        given = fields(part["functionCall"], where)
        only(where, given, {"id", "name", "args"}, self._report)
        name = _string(where, given, "name")
        self._calls += 1
        call_id = _string(where, given, "id") if "id" in given else f"call_{self._calls}"
        arguments = given.get("args", Raw(b"{}"))
        decode(_fields, arguments, f"{where}.args", "an object")
        self._open.append((name, call_id))
        call: Message = {
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": bytes(arguments).decode()},
        }
        if "thoughtSignature" in part:
            signature = _string(path, part, "thoughtSignature")
            if signature != FOREIGN_SIGNATURE:
                call["extra_content"] = {"google": {"thought_signature": signature}}
        return call

    def _response(self, path: str, part: Fields) -> Message:
        only(path, part, {"functionResponse"}, self._report)
        where = f"{path}.functionResponse"
        given = fields(part["functionResponse"], where)
        only(where, given, {"id", "name", "response"}, self._report)
        name = _string(where, given, "name")
        wanted = _string(where, given, "id") if "id" in given else None
        found = next(
            (each for each in self._open if (wanted or each[1]) == each[1] and name == each[0]),
            None,
        )
        if found is None:
            raise LineRejected(where, "tool_result_without_call", "No open call has this name.")
        self._open.remove(found)
        response = given.get("response", Raw(b"{}"))
        content = _content(decode(_fields, response, f"{where}.response", "an object"), response)
        return {"role": "tool", "tool_call_id": found[1], "content": content}


def _content(response: Fields, raw: Raw) -> str:
    """The text of a tool message that becomes such a response."""
    output = bytes(response["output"]) if response.keys() == {"output"} else b""
    if output.startswith(b'"'):
        text = _text.decode(output)
        try:
            _fields.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return text
    return bytes(raw).decode()


def _string(path: str, given: Fields, key: str) -> str:
    if key not in given:
        raise wrong_type(f"{path}.{key}", "a string")
    return decode(_text, given[key], f"{path}.{key}", "a string")

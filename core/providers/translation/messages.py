"""The conversation: chat completion messages to a system prompt and alternating turns."""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.translation.report import Report, decode

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
PDF_IN_BASE64 = "JVBERi"
"""How a PDF ("%PDF-") begins in base64."""

Block = dict[str, Any]

_messages = msgspec.json.Decoder(list[dict[str, Any]])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])

_KEYS = {
    "system": frozenset({"role", "content"}),
    "developer": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset(
        {"role", "content", "tool_calls", "refusal", "annotations", "reasoning_content"}
    ),
    "tool": frozenset({"role", "content", "tool_call_id"}),
}


def translate_messages(
    raw: msgspec.Raw, model: Model, report: Report
) -> tuple[str | list[Block], list[Block]]:
    """Give the system prompt (empty if there is none) and the turns of Anthropic's form.

    Raises LineRejected.
    """
    messages = decode(_messages, raw, "body.messages", "a list of message objects")
    conversation = _Conversation(report)
    for index, message in enumerate(messages):
        conversation.add(f"body.messages[{index}]", message)
    return conversation.end(model, len(messages) - 1)


class _Conversation:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._system: list[str] = []
        self._system_parts = False
        self._turns: list[Block] = []
        self._unanswered: dict[str, str] = {}
        """Tool calls that still need a result: id to the path of the call."""

    def add(self, path: str, message: Block) -> None:
        role = message.get("role")
        known = _KEYS.get(role) if isinstance(role, str) else None
        if known is None:
            raise LineRejected(
                f"{path}.role",
                "unsupported_role",
                f"{path}.role has to be system, developer, user, assistant or tool.",
            )
        if not known.issuperset(message):
            self._lose_unknown(path, message, known)
        if role == "user":
            self._answered(path)
            self._extend("user", self._user_content(f"{path}.content", message.get("content")))
        elif role == "assistant":
            self._answered(path)
            self._extend("assistant", self._assistant_content(path, message))
        elif role == "tool":
            self._extend("user", [self._tool_result(path, message)])
        else:
            self._add_system(path, message.get("content"))

    def end(self, model: Model, last: int) -> tuple[str | list[Block], list[Block]]:
        turns = self._turns
        if not turns:
            raise LineRejected(
                "body.messages", "missing_user_message", "A message from the user is needed."
            )
        self._answered(f"body.messages[{last}]")
        if turns[-1]["role"] == "assistant" and not model.prefill:
            # Nothing to leave out: the model refuses any request that ends so.
            raise LineRejected(
                f"body.messages[{last}].role",
                "unsupported_prefill",
                f"{model.id} does not continue a message of the assistant: "
                "the last message has to be from the user.",
            )
        if self._system_parts:
            return [{"type": "text", "text": text} for text in self._system], turns
        return "\n\n".join(self._system), turns

    def _lose_unknown(self, path: str, message: Block, known: frozenset[str]) -> None:
        for key in message:
            if key not in known and message[key] is not None:
                self._report.lose(f"{path}.{key}", f"{key} of a message has no equivalent.")

    def _extend(self, role: str, content: str | list[Block]) -> None:
        turns = self._turns
        if not turns and role == "assistant":
            raise LineRejected(
                "body.messages[0].role",
                "first_message_not_user",
                "The first message has to be from the user.",
            )
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": content})
            return
        turn = turns[-1]
        turn["content"] = _as_blocks(turn["content"]) + _as_blocks(content)

    def _add_system(self, path: str, content: Any) -> None:
        if isinstance(content, list):
            self._system_parts = True
            texts = [
                self._text_part(f"{path}.content[{index}]", part)
                for index, part in enumerate(content)
            ]
        else:
            texts = [_string(f"{path}.content", content)]
        # Anthropic refuses empty text blocks; an empty instruction says nothing.
        self._system += [text for text in texts if text and not text.isspace()]
        if self._turns:
            self._report.note(
                path, "changed", "A later system message is joined to the system prompt."
            )

    def _user_content(self, path: str, content: Any) -> str | list[Block]:
        if isinstance(content, str):
            return _filled(path, content)
        if not isinstance(content, list) or not content:
            raise _wrong(path, "a string or a list of content parts")
        return [self._user_part(f"{path}[{i}]", part) for i, part in enumerate(content)]

    def _user_part(self, path: str, part: Any) -> Block:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            return {"type": "text", "text": _filled(path, self._text_part(path, part))}
        if kind == "image_url":
            self._only(path, part, {"type", "image_url"})
            return self._image(f"{path}.image_url", part.get("image_url"))
        if kind == "file":
            self._only(path, part, {"type", "file"})
            return self._document(f"{path}.file", part.get("file"))
        raise LineRejected(
            f"{path}.type",
            "unsupported_content",
            f"{path}.type has to be text, image_url or file; the model takes nothing else.",
        )

    def _text_part(self, path: str, part: Any) -> str:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise LineRejected(
                f"{path}.type", "unsupported_content", f"{path} has to be a text part."
            )
        self._only(path, part, {"type", "text"})
        return _string(f"{path}.text", part.get("text"))

    def _image(self, path: str, image: Any) -> Block:
        if not isinstance(image, dict):
            raise _wrong(path, "an object with a url")
        self._only(path, image, {"url", "detail"})
        if image.get("detail") not in (None, "auto"):
            self._report.note(f"{path}.detail", "ignored", "The model has no level of detail.")
        url = _string(f"{path}.url", image.get("url"))
        if url.startswith(("https://", "http://")):
            return {"type": "image", "source": {"type": "url", "url": url}}
        media_type, data = _data_url(f"{path}.url", url)
        media_type = "image/jpeg" if media_type == "image/jpg" else media_type
        if media_type not in IMAGE_TYPES:
            raise LineRejected(
                f"{path}.url",
                "unsupported_media_type",
                "Images have to be JPEG, PNG, GIF or WebP.",
            )
        source = {"type": "base64", "media_type": media_type, "data": data}
        return {"type": "image", "source": source}

    def _document(self, path: str, file: Any) -> Block:
        if not isinstance(file, dict):
            raise _wrong(path, "an object with file_data")
        if file.get("file_id") is not None:
            raise LineRejected(
                f"{path}.file_id",
                "unsupported_file_id",
                "A file id of one provider means nothing to another: send file_data.",
            )
        self._only(path, file, {"file_data", "filename"})
        text = _string(f"{path}.file_data", file.get("file_data"))
        if text.startswith(PDF_IN_BASE64):
            media_type, data = "application/pdf", text
        else:
            media_type, data = _data_url(f"{path}.file_data", text)
        if media_type != "application/pdf":
            raise LineRejected(
                f"{path}.file_data", "unsupported_media_type", "Files have to be PDF."
            )
        source = {"type": "base64", "media_type": media_type, "data": data}
        block: Block = {"type": "document", "source": source}
        if file.get("filename"):
            block["title"] = _string(f"{path}.filename", file["filename"])
        return block

    def _assistant_content(self, path: str, message: Block) -> str | list[Block]:
        if message.get("reasoning_content") is not None:
            self._report.note(
                f"{path}.reasoning_content", "ignored", "Earlier reasoning cannot be sent back."
            )
        content = message.get("content")
        calls = message.get("tool_calls")
        if isinstance(content, str) and not calls:
            return _filled(f"{path}.content", content)
        blocks = self._assistant_parts(path, content)
        if not blocks and isinstance(message.get("refusal"), str):
            blocks.append({"type": "text", "text": message["refusal"]})
        if calls is not None and not isinstance(calls, list):
            raise _wrong(f"{path}.tool_calls", "a list")
        for index, call in enumerate(calls or ()):
            blocks.append(self._tool_use(f"{path}.tool_calls[{index}]", call))
        if not blocks:
            raise _wrong(f"{path}.content", "a text that is not empty")
        return blocks

    def _assistant_parts(self, path: str, content: Any) -> list[Block]:
        if content is None:
            return []
        if isinstance(content, str):
            return [{"type": "text", "text": content}] if content.strip() else []
        if not isinstance(content, list):
            raise _wrong(f"{path}.content", "a string or a list of content parts")
        blocks: list[Block] = []
        for index, part in enumerate(content):
            where = f"{path}.content[{index}]"
            if isinstance(part, dict) and part.get("type") == "refusal":
                self._only(where, part, {"type", "refusal"})
                text = _string(f"{where}.refusal", part.get("refusal"))
            else:
                text = self._text_part(where, part)
            blocks.append({"type": "text", "text": _filled(where, text)})
        return blocks

    def _tool_use(self, path: str, call: Any) -> Block:
        if not isinstance(call, dict) or call.get("type", "function") != "function":
            raise LineRejected(
                f"{path}.type", "unsupported_tool", f"{path} has to be a call of a function."
            )
        self._only(path, call, {"type", "id", "function"})
        function = call.get("function")
        if not isinstance(function, dict):
            raise _wrong(f"{path}.function", "an object with name and arguments")
        self._only(f"{path}.function", function, {"name", "arguments"})
        call_id = _filled(f"{path}.id", _string(f"{path}.id", call.get("id")))
        self._unanswered[call_id] = path
        return {
            "type": "tool_use",
            "id": call_id,
            "name": _string(f"{path}.function.name", function.get("name")),
            "input": _arguments(f"{path}.function.arguments", function.get("arguments")),
        }

    def _tool_result(self, path: str, message: Block) -> Block:
        call_id = _string(f"{path}.tool_call_id", message.get("tool_call_id"))
        if self._unanswered.pop(call_id, None) is None:
            raise LineRejected(
                f"{path}.tool_call_id",
                "tool_result_without_call",
                "A tool message has to follow the message with its tool call.",
            )
        block: Block = {"type": "tool_result", "tool_use_id": call_id}
        content = message.get("content")
        if isinstance(content, list):
            block["content"] = [
                {"type": "text", "text": self._text_part(f"{path}.content[{index}]", part)}
                for index, part in enumerate(content)
            ]
        else:
            text = _string(f"{path}.content", content)
            if text:
                block["content"] = text
        return block

    def _answered(self, path: str) -> None:
        for call_path in self._unanswered.values():
            raise LineRejected(
                call_path,
                "tool_call_without_result",
                f"The tool call has no tool message before or at {path}.",
            )

    def _only(self, path: str, given: Block, known: set[str]) -> None:
        if not known.issuperset(given):
            for key in given:
                if key not in known and given[key] is not None:
                    self._report.lose(f"{path}.{key}", f"{path}.{key} has no equivalent.")


def _as_blocks(content: str | list[Block]) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _wrong(path: str, expected: str) -> LineRejected:
    return LineRejected(path, "wrong_type", f"{path} has to be {expected}.")


def _string(path: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "a string")
    return value


def _filled(path: str, text: str) -> str:
    """Anthropic refuses text that is empty or only white space."""
    if not text or text.isspace():
        raise LineRejected(path, "empty_content", f"{path} must not be empty.")
    return text


def _data_url(path: str, url: str) -> tuple[str, str]:
    head, comma, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma and data):
        raise LineRejected(
            path, "unsupported_url", f"{path} has to be an http(s) URL or a base64 data URL."
        )
    return head.removeprefix("data:").partition(";")[0].lower(), data


def _arguments(path: str, text: Any) -> msgspec.Raw:
    """The arguments of a tool call as JSON, numbers as they were written."""
    try:
        encoded = _string(path, text).encode()
        _object.decode(encoded)
    except (msgspec.DecodeError, RecursionError):
        raise LineRejected(
            path, "invalid_arguments", f"{path} has to be a JSON object written as a string."
        ) from None
    if b"\n" in encoded or b"\r" in encoded:
        encoded = msgspec.json.format(encoded, indent=-1)
    return msgspec.Raw(encoded)

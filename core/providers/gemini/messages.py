"""The conversation: chat completion messages to Gemini's system instruction and contents.

Sources: google-genai 3.4 types.py (Content, Part, FunctionCall, FunctionResponse);
ai.google.dev: thought signatures.
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.contract import LineRejected
from core.providers.gemini.content import Part, not_empty, user_part
from core.providers.gemini.models import Abilities
from core.providers.gemini.tools import check_name
from core.providers.translation.chat_fields import call_arguments, one_line
from core.providers.translation.fields import (
    check_result_name,
    known_only,
    string,
    text_of,
)
from core.providers.translation.report import CHANGED, IGNORED, Report, decode, wrong_type

FOREIGN_SIGNATURE = "skip_thought_signature_validator"
"""Documented for calls that Gemini did not make itself: from version 3 on it refuses a
call without a signature."""

_messages = msgspec.json.Decoder(list[dict[str, Any]])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])

_KEYS = {
    "system": frozenset({"role", "content"}),
    "developer": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset(
        {"role", "content", "tool_calls", "refusal", "annotations", "reasoning_content"}
    ),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}


def translate_messages(
    raw: msgspec.Raw, abilities: Abilities, report: Report
) -> tuple[list[Part], list[dict[str, Any]]]:
    """Give the parts of the system instruction (none if it is not given) and the contents.

    Raises LineRejected.
    """
    messages = decode(_messages, raw, "body.messages", "a list of message objects")
    conversation = _Conversation(abilities, report)
    for index, message in enumerate(messages):
        conversation.add(f"body.messages[{index}]", message)
    return conversation.end(len(messages) - 1)


class _Conversation:
    def __init__(self, abilities: Abilities, report: Report) -> None:
        self._abilities = abilities
        self._report = report
        self._system: list[Part] = []
        self._contents: list[dict[str, Any]] = []
        self._last = ""
        self._unanswered: dict[str, tuple[str, str]] = {}
        """Tool calls that still need a result: id to the function's name and the call's path."""

    def add(self, path: str, message: Part) -> None:
        role = message.get("role")
        known = _KEYS.get(role) if isinstance(role, str) else None
        if known is None:
            raise LineRejected(
                f"{path}.role",
                "unsupported_role",
                f"{path}.role has to be system, developer, user, assistant or tool.",
            )
        known_only(path, message, known, self._report)
        if role == "user":
            self._answered(path)
            self._extend(role, self._user_parts(f"{path}.content", message.get("content")))
        elif role == "assistant":
            self._answered(path)
            self._extend(role, self._model_parts(path, message))
        elif role == "tool":
            self._extend(role, [self._function_response(path, message)])
        else:
            self._add_system(path, message.get("content"))

    def end(self, last: int) -> tuple[list[Part], list[dict[str, Any]]]:
        path = f"body.messages[{last}]"
        if not self._contents:
            raise LineRejected(
                "body.messages", "missing_user_message", "A message from the user is needed."
            )
        self._answered(path)
        if self._contents[-1]["role"] == "model":
            # Nothing to leave out: such a request is refused whatever else it says.
            raise LineRejected(
                f"{path}.role",
                "unsupported_prefill",
                "Gemini does not continue a message of the assistant: the last message has "
                "to be from the user.",
            )
        return self._system, self._contents

    def _extend(self, role: str, parts: list[Part]) -> None:
        contents = self._contents
        if not contents and role == "assistant":
            raise LineRejected(
                "body.messages[0].role",
                "first_message_not_user",
                "The first message has to be from the user.",
            )
        # Results of calls stay apart from what the user says after them.
        if role == self._last:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": "model" if role == "assistant" else "user", "parts": parts})
        self._last = role

    def _add_system(self, path: str, content: Any) -> None:
        for text in self._texts(f"{path}.content", content):
            # Gemini refuses empty parts; an empty instruction says nothing.
            if text:
                self._system.append({"text": text})
        if self._contents:
            self._report.note(
                path, CHANGED, "A later system message is joined to the system instruction."
            )

    def _texts(self, path: str, content: Any) -> list[str]:
        if isinstance(content, list):
            return [text_of(f"{path}[{i}]", part, self._report) for i, part in enumerate(content)]
        return [string(path, content)]

    def _user_parts(self, path: str, content: Any) -> list[Part]:
        if isinstance(content, str):
            return [{"text": not_empty(path, content)}]
        if not isinstance(content, list) or not content:
            raise wrong_type(path, "a string or a list of content parts")
        return [user_part(f"{path}[{i}]", part, self._report) for i, part in enumerate(content)]

    def _model_parts(self, path: str, message: Part) -> list[Part]:
        if message.get("reasoning_content") is not None:
            self._report.note(
                f"{path}.reasoning_content", IGNORED, "Earlier reasoning cannot be sent back."
            )
        parts = self._parts_of(path, message.get("content"))
        if not parts and isinstance(message.get("refusal"), str):
            parts.append({"text": message["refusal"]})
        calls = message.get("tool_calls")
        if calls is not None and not isinstance(calls, list):
            raise wrong_type(f"{path}.tool_calls", "a list")
        made = [
            self._function_call(f"{path}.tool_calls[{index}]", call)
            for index, call in enumerate(calls or ())
        ]
        if made and self._abilities.signs_calls and "thoughtSignature" not in made[0]:
            made[0]["thoughtSignature"] = FOREIGN_SIGNATURE
        if not parts and not made:
            raise wrong_type(f"{path}.content", "a text that is not empty")
        return parts + made

    def _parts_of(self, path: str, content: Any) -> list[Part]:
        if content is None:
            return []
        if isinstance(content, str):
            return [{"text": content}] if content else []
        if not isinstance(content, list):
            raise wrong_type(f"{path}.content", "a string or a list of content parts")
        parts: list[Part] = []
        for index, part in enumerate(content):
            where = f"{path}.content[{index}]"
            if isinstance(part, dict) and part.get("type") == "refusal":
                known_only(where, part, {"type", "refusal"}, self._report)
                text = string(f"{where}.refusal", part.get("refusal"))
            else:
                text = text_of(where, part, self._report)
            parts.append({"text": not_empty(where, text)})
        return parts

    def _function_call(self, path: str, call: Any) -> Part:
        if not isinstance(call, dict) or call.get("type", "function") != "function":
            raise LineRejected(
                f"{path}.type", "unsupported_tool", f"{path} has to be a call of a function."
            )
        known_only(path, call, {"type", "id", "function", "extra_content"}, self._report)
        function = call.get("function")
        if not isinstance(function, dict):
            raise wrong_type(f"{path}.function", "an object with name and arguments")
        known_only(f"{path}.function", function, {"name", "arguments"}, self._report)
        call_id = not_empty(f"{path}.id", string(f"{path}.id", call.get("id")))
        name = string(f"{path}.function.name", function.get("name"))
        check_name(f"{path}.function.name", name)
        if call_id in self._unanswered:
            raise LineRejected(
                f"{path}.id", "duplicate_tool_call", "Two calls of one message share an id."
            )
        self._unanswered[call_id] = (name, path)
        part: Part = {
            "functionCall": {
                "id": call_id,
                "name": name,
                "args": call_arguments(f"{path}.function.arguments", function.get("arguments")),
            }
        }
        match call.get("extra_content"):
            case {"google": {"thought_signature": str(signature)}}:
                part["thoughtSignature"] = signature
        return part

    def _function_response(self, path: str, message: Part) -> Part:
        call_id = string(f"{path}.tool_call_id", message.get("tool_call_id"))
        name, _ = self._unanswered.pop(call_id, ("", ""))
        if not name:
            raise LineRejected(
                f"{path}.tool_call_id",
                "tool_result_without_call",
                "A tool message has to follow the message with its tool call.",
            )
        check_result_name(path, message, name)
        text = "".join(self._texts(f"{path}.content", message.get("content")))
        return {"functionResponse": {"id": call_id, "name": name, "response": _outcome(text)}}

    def _answered(self, path: str) -> None:
        for _, call_path in self._unanswered.values():
            raise LineRejected(
                call_path,
                "tool_call_without_result",
                f"The tool call has no tool message before or at {path}.",
            )


def _outcome(text: str) -> msgspec.Raw | dict[str, str]:
    """A function's response has to be an object; any other text becomes its "output"."""
    try:
        _object.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"output": text}
    return one_line(text.encode())

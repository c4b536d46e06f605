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
from core.providers.translation.chat_messages import (
    CALL,
    Call,
    OpenCalls,
    answer_texts,
    called_function,
    calls_of,
    no_user_message,
    not_from_user,
    role_of,
    texts_of,
)
from core.providers.translation.fields import string
from core.providers.translation.report import CHANGED, IGNORED, Report, decode, wrong_type

FOREIGN_SIGNATURE = "skip_thought_signature_validator"
"""Documented for calls that Gemini did not make itself: from version 3 on it refuses a
call without a signature."""

_CALL = CALL | {"extra_content"}

_messages = msgspec.json.Decoder(list[dict[str, Any]])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


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
        self._calls = OpenCalls()

    def add(self, path: str, message: Part) -> None:
        role = role_of(path, message, self._report)
        if role == "user":
            self._calls.check_none(path)
            self._extend(role, self._user_parts(f"{path}.content", message.get("content")))
        elif role == "assistant":
            self._calls.check_none(path)
            self._extend(role, self._model_parts(path, message))
        elif role == "tool":
            self._extend(role, [self._function_response(path, message)])
        else:
            self._add_system(path, message.get("content"))

    def end(self, last: int) -> tuple[list[Part], list[dict[str, Any]]]:
        path = f"body.messages[{last}]"
        if not self._contents:
            raise no_user_message()
        self._calls.check_none(path)
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
            raise not_from_user()
        # Results of calls stay apart from what the user says after them.
        if role == self._last:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": "model" if role == "assistant" else "user", "parts": parts})
        self._last = role

    def _add_system(self, path: str, content: Any) -> None:
        for text in texts_of(f"{path}.content", content, self._report):
            # Gemini refuses empty parts; an empty instruction says nothing.
            if text:
                self._system.append({"text": text})
        if self._contents:
            self._report.note(
                path, CHANGED, "A later system message is joined to the system instruction."
            )

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
        parts = self._parts_of(f"{path}.content", message.get("content"))
        if not parts and isinstance(message.get("refusal"), str):
            parts.append({"text": message["refusal"]})
        made = [self._function_call(where, call) for where, call in calls_of(path, message)]
        if made and self._abilities.signs_calls and "thoughtSignature" not in made[0]:
            made[0]["thoughtSignature"] = FOREIGN_SIGNATURE
        if not parts and not made:
            raise wrong_type(f"{path}.content", "a text that is not empty")
        return parts + made

    def _parts_of(self, path: str, content: Any) -> list[Part]:
        if isinstance(content, str):
            return [{"text": content}] if content else []
        texts = answer_texts(path, content, self._report)
        return [{"text": not_empty(where, text)} for where, text in texts]

    def _function_call(self, path: str, call: Any) -> Part:
        function = called_function(path, call, self._report, _CALL)
        call_id = not_empty(f"{path}.id", string(f"{path}.id", call.get("id")))
        name = string(f"{path}.function.name", function.get("name"))
        check_name(f"{path}.function.name", name)
        self._calls.add(call_id, Call(path, name, call_id))
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
        call = self._calls.answered(path, message)
        text = "".join(texts_of(f"{path}.content", message.get("content"), self._report))
        response = {"id": call.sent_id, "name": call.name, "response": _outcome(text)}
        return {"functionResponse": response}


def _outcome(text: str) -> msgspec.Raw | dict[str, str]:
    """A function's response has to be an object; any other text becomes its "output"."""
    try:
        _object.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"output": text}
    return one_line(text.encode())

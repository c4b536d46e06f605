"""What every translation reads alike of chat messages: roles, texts, calls and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from core.providers.contract import LineRejected
from core.providers.translation.fields import known_only, string, text_of
from core.providers.translation.report import Report, wrong_type

_FIELDS = {
    "system": frozenset({"role", "content"}),
    "developer": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset(
        {"role", "content", "tool_calls", "refusal", "annotations", "reasoning_content"}
    ),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
CALL = frozenset({"type", "id", "function"})
"""Fields of a tool call."""
_FUNCTION = frozenset({"name", "arguments"})


def role_of(path: str, message: Mapping[str, Any], report: Report) -> str:
    """The role of a message; fields that it does not have are lost. Raises LineRejected."""
    role: Any = message.get("role")
    known = _FIELDS.get(role) if isinstance(role, str) else None
    if known is None:
        raise LineRejected(
            f"{path}.role",
            "unsupported_role",
            f"{path}.role has to be system, developer, user, assistant or tool.",
        )
    known_only(path, message, known, report)
    return role  # type: ignore[no-any-return]


def no_user_message() -> LineRejected:
    """The refusal of a conversation in which nobody speaks."""
    return LineRejected(
        "body.messages", "missing_user_message", "A message from the user is needed."
    )


def not_from_user() -> LineRejected:
    """The refusal of a conversation that the assistant begins."""
    return LineRejected(
        "body.messages[0].role",
        "first_message_not_user",
        "The first message has to be from the user.",
    )


def texts_of(path: str, content: Any, report: Report) -> list[str]:
    """The texts of a content that is one, or a list of text parts. Raises LineRejected."""
    if isinstance(content, list):
        return [text_of(f"{path}[{i}]", part, report) for i, part in enumerate(content)]
    return [string(path, content)]


def answer_texts(path: str, content: Any, report: Report) -> Iterator[tuple[str, str]]:
    """The texts and refusals in the content of an assistant's message, each with its path.

    Raises LineRejected.
    """
    if isinstance(content, str):
        yield path, content
    elif isinstance(content, list):
        for index, part in enumerate(content):
            where = f"{path}[{index}]"
            if isinstance(part, dict) and part.get("type") == "refusal":
                known_only(where, part, {"type", "refusal"}, report)
                yield where, string(f"{where}.refusal", part.get("refusal"))
            else:
                yield where, text_of(where, part, report)
    elif content is not None:
        raise wrong_type(path, "a string or a list of content parts")


def calls_of(path: str, message: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The tool calls of a message, each with its path. Raises LineRejected."""
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise wrong_type(f"{path}.tool_calls", "a list")
    return [(f"{path}.tool_calls[{index}]", call) for index, call in enumerate(calls)]


def called_function(
    path: str, call: Any, report: Report, known: frozenset[str] = CALL
) -> dict[str, Any]:
    """The function of a tool call: "name" and "arguments", if they are given.

    `known`: fields of a call that the translation reads. Raises LineRejected.
    """
    if not isinstance(call, dict) or call.get("type", "function") != "function":
        raise LineRejected(
            f"{path}.type", "unsupported_tool", f"{path} has to be a call of a function."
        )
    known_only(path, call, known, report)
    function = call.get("function")
    if not isinstance(function, dict):
        raise wrong_type(f"{path}.function", "an object with name and arguments")
    known_only(f"{path}.function", function, _FUNCTION, report)
    return function


class Call(msgspec.Struct, frozen=True, gc=False):
    """A tool call that needs a result."""

    path: str
    name: str
    """Of the function."""
    sent_id: str
    """The id that the provider is given for it."""


class OpenCalls:
    """The tool calls of a conversation that still need a result, by the request's own ids."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}

    def add(self, call_id: str, call: Call) -> None:
        """Take in a call. Raises LineRejected if another one has its id."""
        if call_id in self._calls:
            raise LineRejected(
                f"{call.path}.id", "duplicate_tool_call", "Two calls of one message share an id."
            )
        self._calls[call_id] = call

    def answered(self, path: str, message: Mapping[str, Any]) -> Call:
        """The call that a tool message brings the result of. Raises LineRejected.

        Older programs write the name of the function on it, which has to be the right one.
        """
        call = self._calls.pop(string(f"{path}.tool_call_id", message.get("tool_call_id")), None)
        if call is None:
            raise LineRejected(
                f"{path}.tool_call_id",
                "tool_result_without_call",
                "A tool message has to follow the message with its tool call.",
            )
        if message.get("name") not in (None, call.name):
            raise LineRejected(
                f"{path}.name",
                "unsupported_value",
                f"{path}.name is not that of the function that was called; expected the same, or "
                "no name.",
            )
        return call

    def check_none(self, path: str) -> None:
        """Raise LineRejected if one is open at `path`, where somebody else speaks."""
        for call in self._calls.values():
            raise LineRejected(
                call.path,
                "tool_call_without_result",
                f"The tool call has no tool message before or at {path}.",
            )

"""Where each part of a chat completion request stood in the Responses request.

What the translations say of a chat completion is said of the body that the user wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from core.providers.contract import LineRejected
from core.providers.translation.report import Note

_QUOTED = re.compile(r"(\"[^\"]*\"|'[^']*'|`[^`]*`)")
_PLACE = re.compile(r"body(?:\.\w+|\[\d+\])+")
_MESSAGE = re.compile(r"body\.messages\[(\d+)\](.*)", re.DOTALL)
_PART = re.compile(r"\.content\[(\d+)\](.*)", re.DOTALL)
_CALL = re.compile(r"\.tool_calls\[(\d+)\](.*)", re.DOTALL)
_TOOL = re.compile(r"(body\.tools\[\d+\])\.function(.*)", re.DOTALL)

_FIELDS = (
    ("body.messages", "body.input"),
    ("body.max_completion_tokens", "body.max_output_tokens"),
    ("body.max_tokens", "body.max_output_tokens"),
    ("body.reasoning_effort", "body.reasoning.effort"),
    ("body.response_format.json_schema", "body.text.format"),
    ("body.response_format", "body.text.format"),
    ("body.verbosity", "body.text.verbosity"),
)
_PARTS = (
    (".image_url.url", ".image_url"),
    (".image_url.detail", ".detail"),
    (".file", ""),
)
_CALLS = ((".function", ""), (".id", ".call_id"))
_WORDS = (
    (re.compile(r"\bmax_(?:completion_)?tokens\b"), "max_output_tokens"),
    (re.compile(r"\breasoning_effort\b"), "reasoning.effort"),
    (re.compile(r"\bresponse_format\b"), "text.format"),
    (re.compile(r"\btool message\b"), "function_call_output"),
)
"""What messages call by the names of chat completions."""


@dataclass(slots=True)
class MessageOrigin:
    """What a message of the chat completion was made of."""

    path: str
    """Such as "body.input[2]" or "body.instructions"."""
    content: str
    """Of its content, such as "body.input[2].content"."""
    parts: list[str] = field(default_factory=list)
    """Of each part of its content, where they do not stand in order below `content`."""
    calls: list[str] = field(default_factory=list)
    """Of each of its tool calls."""


class Origins:
    """The way back from the paths of a chat completion request."""

    __slots__ = ("messages",)

    def __init__(self) -> None:
        self.messages: list[MessageOrigin] = []

    def path(self, path: str) -> str:
        """A path in the Responses request; paths that both have stay as they are."""
        if found := _MESSAGE.fullmatch(path):
            index = int(found[1])
            if index < len(self.messages):
                return _within(self.messages[index], found[2])
        if found := _TOOL.fullmatch(path):
            return found[1] + found[2]
        return _renamed(path, _FIELDS)

    def text(self, message: str) -> str:
        """A message, with the paths and names of the Responses request."""
        # What is quoted is the user's own, whatever it looks like.
        return "".join(
            piece if quoted else self._renamed_words(piece) for quoted, piece in _pieces(message)
        )

    def _renamed_words(self, words: str) -> str:
        renamed = _PLACE.sub(lambda found: self.path(found[0]), words)
        for theirs, ours in _WORDS:
            renamed = theirs.sub(ours, renamed)
        return renamed

    def note(self, note: Note) -> Note:
        """A note on the chat completion, as one on the Responses request."""
        return replace(note, field=self.path(note.field), message=self.text(note.message))

    def rejection(self, error: LineRejected) -> LineRejected:
        """A refusal of the chat completion, likewise."""
        return LineRejected(self.path(error.field), error.reason, self.text(error.message))


def _pieces(message: str) -> Iterator[tuple[bool, str]]:
    """A message, cut into what is quoted (True) and what is not."""
    for number, piece in enumerate(_QUOTED.split(message)):
        yield number % 2 == 1, piece


def _within(origin: MessageOrigin, rest: str) -> str:
    if found := _PART.fullmatch(rest):
        index = int(found[1])
        of_part = f"{origin.content}[{index}]"
        if index < len(origin.parts):
            of_part = origin.parts[index]
        return of_part + _renamed(found[2], _PARTS)
    if found := _CALL.fullmatch(rest):
        index = int(found[1])
        if index < len(origin.calls):
            return origin.calls[index] + _renamed(found[2], _CALLS)
    if rest == ".content":
        return origin.content
    if rest == ".tool_call_id":
        return f"{origin.path}.call_id"
    if rest == ".role" and origin.content != f"{origin.path}.content":
        # Instructions, a call or its output: it has no role that could be fixed.
        return origin.path
    return origin.path + rest


def _renamed(path: str, names: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in names:
        if path == theirs or path.startswith((f"{theirs}.", f"{theirs}[")):
            return ours + path[len(theirs) :]
    return path

"""The common request: texts, a limit, and options. Of most there is nothing to refuse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from core.providers.catalogue import Model

Raw = msgspec.Raw
Option = Raw | msgspec.UnsetType

NULL = Raw(b"null")

_ROLES = ("user", "assistant")
INSTRUCTIONS = frozenset({"system", "developer"})
"""Roles that instruct, and do not speak."""


class PlainMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message that is one text."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, msgspec.Meta(min_length=1)]


class PlainRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A chat completion request whose messages are texts.

    Its options are taken as they stand: mostly all lines of a file have the same ones.
    """

    model: str
    messages: Annotated[list[PlainMessage], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Option = msgspec.UNSET
    stream: None = None
    tools: Option = msgspec.UNSET
    tool_choice: Option = msgspec.UNSET
    parallel_tool_calls: Option = msgspec.UNSET
    response_format: Option = msgspec.UNSET
    reasoning_effort: Option = msgspec.UNSET
    top_p: Option = msgspec.UNSET

    @property
    def has_options(self) -> bool:
        """Whether any is given, null or not; the temperature is one."""
        return not (
            self.temperature
            is self.tools
            is self.tool_choice
            is self.parallel_tool_calls
            is self.response_format
            is self.reasoning_effort
            is self.top_p
            is msgspec.UNSET
        )

    def options(self) -> dict[str, Raw]:
        """The options that are given and not null, by their names; without temperature."""
        return {
            name: raw
            for name in OPTIONS
            if (raw := getattr(self, name)) is not msgspec.UNSET and raw != NULL
        }


OPTIONS = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "top_p",
)

_temperature = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, lt=1)])


def is_plain(model: Model, request: PlainRequest) -> bool:
    """Whether a request without its options surely translates, without a note.

    False says nothing.
    """
    if request.temperature is not msgspec.UNSET:
        if not model.sampling:
            return False
        try:
            _temperature.decode(request.temperature)
        except msgspec.DecodeError:
            return False
    limit = request.max_tokens or request.max_completion_tokens
    if limit is None or (request.max_tokens and request.max_completion_tokens):
        return False
    if model.max_output is not None and limit > model.max_output:
        return False
    return are_plain(request.messages)


def are_plain(messages: Iterable[PlainMessage]) -> bool:
    """Whether messages surely translate, without a note, and change nothing for the options."""
    turns = 0
    for message in messages:
        if message.content.isspace():
            return False
        if message.role == _ROLES[turns & 1]:
            turns += 1
        elif turns or message.role not in INSTRUCTIONS:
            return False
    return turns % 2 == 1

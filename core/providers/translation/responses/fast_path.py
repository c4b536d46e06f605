"""The short way for the check of the common request: a few texts and a limit."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Raw

from core.providers.catalogue import Model
from core.providers.translation.common_request import PlainMessage, PlainRequest, is_plain


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, msgspec.Meta(min_length=1)]
    type: Literal["message"] = "message"


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    input: Annotated[str, msgspec.Meta(min_length=1)] | list[_Message]
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)]
    instructions: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    temperature: Raw | msgspec.UnsetType = msgspec.UNSET
    stream: None = None


_request = msgspec.json.Decoder(_Request)


def surely_passes(model: Model, body: bytes | Raw) -> bool:
    """Whether a Responses request surely translates, without a note. False says nothing."""
    try:
        asked = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    messages: list[PlainMessage] = []
    if asked.instructions:
        messages.append(PlainMessage("system", asked.instructions))
    if isinstance(asked.input, str):
        messages.append(PlainMessage("user", asked.input))
    else:
        messages += [PlainMessage(each.role, each.content) for each in asked.input]
    same = PlainRequest(
        asked.model,
        messages,
        max_completion_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
    )
    return is_plain(model, same)

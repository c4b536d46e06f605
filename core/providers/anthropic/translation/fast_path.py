"""The short way for the common request, to the same params as the long one."""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.catalogue import Model
from core.providers.translation.common_request import INSTRUCTIONS, PlainRequest, is_plain

_request = msgspec.json.Decoder(PlainRequest)


def translate_plain(model: Model, body: bytes | msgspec.Raw) -> dict[str, Any] | None:
    """Messages params of a body that is of the common kind, to be encoded; None of others.

    A short way, several times as fast as the long one, to the same params.
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not is_plain(model, request):
        return None
    messages = request.messages
    params: dict[str, Any] = {
        "model": model.id,
        "max_tokens": request.max_tokens or request.max_completion_tokens,
        "messages": messages,
    }
    if messages[0].role != "user":
        instructions = [each.content for each in messages if each.role in INSTRUCTIONS]
        params["system"] = "\n\n".join(instructions)
        params["messages"] = messages[len(instructions) :]
    if request.temperature is not msgspec.UNSET:
        params["temperature"] = request.temperature
    return params

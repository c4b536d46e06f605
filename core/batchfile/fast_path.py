"""Decoding the lines of the common kind together with what their provider checks.

A provider's check decodes a body once more. For requests of the common kind, which are
nearly all of most files, this tells in the first decoding that there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Union

import msgspec

from core.batchfile.schema import ChatBody, ChatLine, CustomId

# A file whose lines are of another kind is not tried over and over.
_MISSES = 1000

decode_chat: Callable[[bytes], ChatLine] = msgspec.json.Decoder(ChatLine).decode


class Plain(NamedTuple):
    """A provider's chat completions of the common kind."""

    body: type[msgspec.Struct]
    """Has the fields `model`, `messages` and `stream`, and refuses unknown ones."""
    passes: Callable[[Any], bool]
    """Takes a decoded body. True: the provider's check surely finds nothing in it, and it
    has a message."""


class PlainDecoder:
    """Decodes chat completion lines as ChatLine or, where possible, as a line that has passed."""

    def __init__(self, providers: Iterable[str], plain: Mapping[str, Plain]) -> None:
        lines: list[Any] = [
            msgspec.defstruct(
                f"{provider.title()}Line",
                [
                    ("custom_id", CustomId),
                    ("method", Literal["POST"]),
                    ("url", Literal["/v1/chat/completions"]),
                    ("body", plain[provider].body if provider in plain else ChatBody),
                ],
                namespace={"provider": provider, "passed": provider in plain},
                tag_field="provider",
                tag=provider,
                forbid_unknown_fields=True,
                gc=False,
            )
            for provider in providers
        ]
        self._decode = msgspec.json.Decoder(Union[tuple(lines)]).decode  # noqa: UP007
        self._passes = {provider: each.passes for provider, each in plain.items()}
        self._misses = 0

    def decode(self, raw: bytes) -> ChatLine:
        """Decode a line; `passed` says whether its provider's check is done with it.

        Raises as ChatLine's decoder.
        """
        if self._misses == _MISSES:
            return decode_chat(raw)
        try:
            found: Any = self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._misses += 1
            return decode_chat(raw)
        if found.passed and not self._passes[found.provider](found.body):
            self._misses += 1
            return decode_chat(raw)
        line: ChatLine = found
        return line

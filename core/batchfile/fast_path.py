"""Decoding the lines of the common kind together with what their provider checks.

A provider's check decodes a body once more. For requests of the common kind, which are
nearly all of most files, this tells in the first decoding that there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Union

import msgspec

from core.batchfile.bodies import ChatBody
from core.batchfile.schema import DECODERS, Kind, Line, line_type
from core.endpoints import CHAT_COMPLETIONS

# A file whose lines are of another kind is not tried over and over.
_MISSES = 1000

decode_chat = DECODERS[Kind.OPENAI, CHAT_COMPLETIONS]


class Plain(NamedTuple):
    """A provider's chat completions of the common kind."""

    body: type[msgspec.Struct]
    """Has the fields `model`, `messages` and `stream`, and refuses unknown ones."""
    passes: Callable[[Any], bool]
    """Takes a decoded body. True: the provider's check surely finds nothing in it, and it
    has a message."""


class PlainDecoder:
    """Decodes chat completion lines, where possible as a line that has passed."""

    def __init__(self, providers: Iterable[str], plain: Mapping[str, Plain]) -> None:
        lines: list[Any] = [
            line_type(
                f"{provider.title()}Line",
                CHAT_COMPLETIONS,
                plain[provider].body if provider in plain else ChatBody,
                passed=provider in plain,
                tag=provider,
            )
            for provider in providers
        ]
        self._decode = msgspec.json.Decoder(Union[tuple(lines)]).decode  # noqa: UP007
        self._passes = {provider: each.passes for provider, each in plain.items()}
        self._misses = 0

    def decode(self, raw: bytes) -> Line:
        """Decode a line; `passed` says whether its provider's check is done with it.

        Raises msgspec.DecodeError.
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
        line: Line = found
        return line

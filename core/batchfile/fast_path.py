"""Decoding the lines of the common kind together with what their provider checks.

A provider's check decodes a body once more. For requests of the common kind, which are
nearly all of most files, one decoding tells the line and that there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from core.batchfile.schema import DECODERS, Kind, Line, line_type
from core.endpoints import CHAT_COMPLETIONS

# A file whose lines are of another kind is not tried over and over.
_MISSES = 1000

decode_chat = DECODERS[Kind.OPENAI, CHAT_COMPLETIONS]


class Plain(NamedTuple):
    """A provider's short way for chat completions of the common kind."""

    body: type[msgspec.Struct]
    """Has the fields `model`, `messages`, `stream`, `max_tokens`, `max_completion_tokens` and
    `tools` (functions alone), refuses unknown ones, wants a message at least, and takes texts
    alone: no images, recordings or files. Its attribute `has_options` is false where every value
    in it was decoded, and none skipped over."""
    check: Callable[[Any], Iterable[Any] | None]
    """Takes a decoded body; gives what the provider's check would find in it (core.batchfile
    .Finding), or None: that has to be asked."""


Decode: TypeAlias = Callable[[bytes], Line]

_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "tools"})


def _tells_enough(body: type[msgspec.Struct]) -> bool:
    return _LIMITS.issubset(body.__struct_fields__) and hasattr(body, "has_options")


class PlainDecoder:
    """Decodes chat completion lines, where possible with the whole body.

    For one type of body: that of the first provider. What others have is read as any other.
    """

    def __init__(self, plain: Mapping[str, Plain]) -> None:
        self._misses = 0
        self.decode: Decode = decode_chat
        """Decodes a line. Raises msgspec.DecodeError; see `missed` then."""
        body = next((each.body for each in plain.values() if _tells_enough(each.body)), None)
        self.checks = {slug: each.check for slug, each in plain.items() if each.body is body}
        """By provider slug; for the bodies of lines that are `whole`."""
        if body is not None:
            plain_line = line_type("PlainLine", CHAT_COMPLETIONS, body, whole=True)
            self.decode = msgspec.json.Decoder(plain_line).decode

    def missed(self, raw: bytes) -> Line:
        """Decode a line that `decode` could not. Raises msgspec.DecodeError."""
        self._misses += 1
        if self._misses == _MISSES:
            self.decode = decode_chat
        return decode_chat(raw)

"""Decoding the lines of the common kind together with what their provider checks.

A provider's check decodes a body once more. For requests of the common kind, which are
nearly all of most files, one decoding tells the line and that there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET

from core.batchfile.schema import DECODERS, NAMES, Kind, Line, line_type, native_type
from core.endpoints import CHAT_COMPLETIONS

# A file whose lines are of another kind is not tried over and over.
_MISSES = 1000
_CHAT = (Kind.OPENAI, CHAT_COMPLETIONS)


class Plain(NamedTuple):
    """A provider's short way for requests of the common kind: texts, a limit, and options."""

    body: type[msgspec.Struct]
    """Refuses unknown fields, wants a message at least, and takes texts alone: no images,
    recordings or files. Has the attributes `model`, `messages`, `max_tokens` and
    `max_completion_tokens`, and `stream`, which is nothing but None. All other fields are
    options, Raw or UNSET, `tools` among them; its attribute `has_options` is false where none is
    given, so that every value was decoded, and none skipped over."""
    check: Callable[[Any], Iterable[Any] | None]
    """Takes a decoded body; gives what the provider's check would find in it (core.batchfile
    .Finding), or None: that has to be asked."""
    fits: Callable[[Any], bool] | None = None
    """Takes a body's messages; tells whether what the check finds surely depends on nothing of
    them. It is then remembered for bodies that are alike otherwise. A message has a role and a
    content, both texts. None: it never is."""


Decode: TypeAlias = Callable[[bytes], Line]


_READ = ("model", "messages", "stream", "max_tokens", "max_completion_tokens", "has_options")


def _tells_enough(body: type[msgspec.Struct]) -> bool:
    return all(hasattr(body, name) for name in (*_READ, "tools"))


class PlainDecoder:
    """Decodes lines, where possible with the whole body.

    Of chat completions for one type of body: that of the first provider. What others have is
    read as any other.
    """

    def __init__(self, chat: Mapping[str, Plain], own: Mapping[str, Plain]) -> None:
        """By provider slug: `chat` for chat completions, `own` for lines of the provider's own
        form."""
        self._own = own
        self._misses = 0
        self._fallback: Decode = DECODERS[_CHAT]
        body = next((each.body for each in chat.values() if _tells_enough(each.body)), None)
        self.ways = {slug: each for slug, each in chat.items() if each.body is body}
        """By provider slug; for the bodies of lines that are `whole`."""
        self.decode: Decode = self._fallback
        """Decodes a line. Raises msgspec.DecodeError; see `missed` then."""
        self.decodes_whole = False
        """Whether that gives the whole body."""
        self.options_of: Callable[[Any], tuple[bytes | None, ...]] = _nothing
        """The options of a body that is decoded as a whole; None for one that is not given."""
        if body is not None:
            self._try_first(line_type("PlainLine", CHAT_COMPLETIONS, body, whole=True), body)

    def begin(self, kind: Kind, url: str) -> None:
        """Decode lines of this kind and endpoint from now on."""
        if (kind, url) == _CHAT:
            return
        self.decode, self.decodes_whole = DECODERS[kind, url], False
        self._fallback = self.decode
        self._misses = 0
        provider = NAMES[kind].provider
        own = self._own.get(provider)
        self.ways = {} if own is None or not _tells_enough(own.body) else {provider: own}
        for each in self.ways.values():
            self._try_first(native_type(kind, each.body, whole=True), each.body)

    def missed(self, raw: bytes) -> Line:
        """Decode a line that `decode` could not. Raises msgspec.DecodeError."""
        if self.decode is not self._fallback:
            self._misses += 1
            if self._misses == _MISSES:
                self.decode, self.decodes_whole = self._fallback, False
        return self._fallback(raw)

    def read(self, raw: bytes) -> Line:
        """Decode a line with what its endpoint is known to have. Raises msgspec.DecodeError."""
        return self._fallback(raw)

    def _try_first(self, line: type[Any], body: type[msgspec.Struct]) -> None:
        self.decode, self.decodes_whole = msgspec.json.Decoder(line).decode, True
        self.options_of = _options_reader(body)


def _options_reader(body: type[msgspec.Struct]) -> Callable[[Any], tuple[bytes | None, ...]]:
    names = [name for name in body.__struct_fields__ if name not in _READ]
    if not names:
        return _nothing
    # Of a single name it would give no tuple.
    given = attrgetter(*names, names[0])
    return lambda found: tuple([None if each is UNSET else bytes(each) for each in given(found)])


def _nothing(_body: Any) -> tuple[bytes | None, ...]:
    return ()

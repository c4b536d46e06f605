"""The shape of an input line, as msgspec types.

A file is of one kind: OpenAI's lines {"custom_id", "provider", "method": "POST", "url",
"body": {"model", ...}}, Anthropic's {"custom_id", "params": {"model", ...}} or Gemini's
{"key", "request": {"contents", ...}}, each as the provider's own batches take them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from core.batchfile.bodies import BY_URL
from core.endpoints import GENERATE_CONTENT, MESSAGES

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte-order mark; accepted at a file's start."""

MAX_CUSTOM_ID = 1024
"""Characters. No provider sees the user's id; this keeps reports and errors small."""

CustomId = Annotated[str, Meta(min_length=1, max_length=MAX_CUSTOM_ID)]


class Kind(StrEnum):
    """Whose lines they are."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    GEMINI = "Gemini"


class Names(NamedTuple):
    """What a kind of line calls its parts."""

    custom_id: str
    body: str
    url: str
    """The one endpoint of such lines; empty where each line names it."""
    provider: str
    """The one provider of such lines, by its slug; empty where it may be any."""


NAMES = {
    Kind.OPENAI: Names("custom_id", "body", "", ""),
    Kind.ANTHROPIC: Names("custom_id", "params", MESSAGES, "anthropic"),
    Kind.GEMINI: Names("key", "request", GENERATE_CONTENT, "gemini"),
}


class Body(Protocol):
    """What the scanner reads of a body."""

    model: str
    stream: bool | None


class Line(Protocol):
    """A line that is right in all that one line can tell, but for `stream`."""

    custom_id: str
    url: str
    provider: str | None
    whole: bool
    """Whether the body is decoded as a whole; see core.batchfile.fast_path."""

    @property
    def body(self) -> Body: ...


def line_type(name: str, url: str, body: type[Struct], *, whole: bool = False) -> type[Any]:
    """The type of OpenAI's lines for one url."""
    return msgspec.defstruct(
        name,
        [
            ("custom_id", CustomId),
            ("method", Literal["POST"]),
            ("url", Literal[url]),
            ("body", body),
            ("provider", str | None, None),
        ],
        namespace={"whole": whole},
        forbid_unknown_fields=True,
        gc=False,
    )


def native_type(kind: Kind, body: type[Struct], *, whole: bool = False) -> type[Any]:
    """The type of lines in a provider's own form."""
    names = NAMES[kind]
    return msgspec.defstruct(
        f"{kind}Line",
        [("custom_id", CustomId), ("body", body)],
        namespace={"whole": whole, "provider": None, "url": names.url},
        rename={"custom_id": names.custom_id, "body": names.body},
        forbid_unknown_fields=True,
        gc=False,
    )


DECODERS: dict[tuple[Kind, str], Callable[[bytes], Line]] = {
    (Kind.OPENAI, url): msgspec.json.Decoder(line_type("OpenAILine", url, endpoint.body)).decode
    for url, endpoint in BY_URL.items()
} | {
    (kind, NAMES[kind].url): msgspec.json.Decoder(
        native_type(kind, BY_URL[NAMES[kind].url].body)
    ).decode
    for kind in (Kind.ANTHROPIC, Kind.GEMINI)
}
"""For the lines of a file once its kind and endpoint are known. Raise msgspec.DecodeError."""


class LooseLine(Struct, gc=False):
    """Any object, the known fields as they stand."""

    custom_id: Raw | UnsetType = UNSET
    provider: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    url: Raw | UnsetType = UNSET
    body: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    key: Raw | UnsetType = UNSET
    request: Raw | UnsetType = UNSET

    @property
    def kind(self) -> Kind:
        """Whose line it is; OpenAI's where it cannot be told."""
        if self.body is UNSET and self.params is not UNSET:
            return Kind.ANTHROPIC
        if self.body is UNSET and self.request is not UNSET:
            return Kind.GEMINI
        return Kind.OPENAI


KNOWN_FIELDS = {
    Kind.OPENAI: frozenset({"custom_id", "provider", "method", "url", "body"}),
    Kind.ANTHROPIC: frozenset({"custom_id", "params"}),
    Kind.GEMINI: frozenset({"key", "request"}),
}


class Request(Struct, gc=False, frozen=True):
    """A valid line."""

    custom_id: str
    url: str
    body: Raw


class _AnyRequest(Struct, gc=False):
    custom_id: str = ""
    url: str = ""
    body: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    key: str = ""
    request: Raw | UnsetType = UNSET


class _Named(Struct, gc=False):
    custom_id: str = ""
    key: str = ""


class _Asking(Struct, gc=False):
    body: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    request: Raw | UnsetType = UNSET


_request_decoder = msgspec.json.Decoder(_AnyRequest)
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_asking = msgspec.json.Decoder(_Asking).decode
_loose_decoder = msgspec.json.Decoder(LooseLine)
_text_decoder = msgspec.json.Decoder(str)


def decode_request(raw: bytes) -> Request:
    """Take a valid line of any kind apart; `body` is a view into `raw`.

    Raises msgspec.DecodeError for a line that the scanner would have refused.
    """
    found = _request_decoder.decode(raw)
    if found.body is not UNSET:
        return Request(found.custom_id, found.url, found.body)
    if found.params is not UNSET:
        return Request(found.custom_id, MESSAGES, found.params)
    if found.request is not UNSET:
        return Request(found.key, GENERATE_CONTENT, found.request)
    raise msgspec.ValidationError("the line has no body")


def valid_custom_id(raw: bytes) -> str:
    """The custom id of a valid line of any kind: for less than `decode_request` takes."""
    found = _decode_named(raw)
    return found.custom_id or found.key


def valid_body(raw: bytes) -> bytes:
    """The body of a valid line of any kind, as `decode_request` finds it."""
    found = _decode_asking(raw)
    for body in (found.body, found.params, found.request):
        if body is not UNSET:
            return bytes(body)
    raise msgspec.ValidationError("the line has no body")


def kind_of(raw: bytes) -> Kind:
    """Whose line it is; OpenAI's where it cannot be read."""
    try:
        return _loose_decoder.decode(raw).kind
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Kind.OPENAI


def custom_id_of(raw: bytes) -> str:
    """The custom id of any line, good or bad; empty if it has none that can be read.

    Cut at MAX_CUSTOM_ID characters.
    """
    try:
        line = _loose_decoder.decode(raw)
        found = line.key if line.kind is Kind.GEMINI else line.custom_id
        return "" if found is UNSET else _text_decoder.decode(found)[:MAX_CUSTOM_ID]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""

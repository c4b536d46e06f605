"""The shape of an input line, as msgspec types.

{"custom_id", "provider", "method": "POST", "url", "body": {"model", ...}}. The types
name only what is checked; the rest of a body is skipped over (but has to be JSON).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

CHAT_COMPLETIONS = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
ENDPOINTS = (CHAT_COMPLETIONS, EMBEDDINGS)

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte-order mark; accepted at a file's start."""

MAX_CUSTOM_ID = 1024
"""Characters. No provider sees the user's id; this keeps reports and errors small."""

MAX_MODEL = 256
"""Characters. A file's models are kept in its row and in memory."""

CustomId = Annotated[str, Meta(min_length=1, max_length=MAX_CUSTOM_ID)]
_Text = Annotated[str, Meta(min_length=1)]
_Model = Annotated[str, Meta(min_length=1, max_length=MAX_MODEL)]
_Token = Annotated[int, Meta(ge=0)]


class Message(Struct, gc=False):
    """Any object."""


Messages = Annotated[list[Message], Meta(min_length=1)]
Input = (
    _Text
    | Annotated[
        list[_Text | _Token | Annotated[list[_Token], Meta(min_length=1)]], Meta(min_length=1)
    ]
)
"""A text, or a list of texts, of token ids or of lists of token ids (not of a mixture)."""


def is_mixture(found: object) -> bool:
    """Whether a decoded Input is a list of different types."""
    return type(found) is list and len(set(map(type, found))) > 1


class ChatBody(Struct, gc=False):
    """Body of a chat completion."""

    model: _Model
    messages: Messages
    stream: bool | None = None


class EmbeddingsBody(Struct, gc=False):
    """Body of an embeddings request."""

    model: _Model
    input: Input
    stream: bool | None = None

    def __post_init__(self) -> None:
        if is_mixture(self.input):
            raise ValueError("input is a mixture")


class ChatLine(Struct, gc=False, forbid_unknown_fields=True):
    """A line that is right in all that one line can tell, but for `stream`."""

    custom_id: CustomId
    method: Literal["POST"]
    url: Literal["/v1/chat/completions"]
    body: ChatBody
    provider: str | None = None
    passed: ClassVar[bool] = False
    """Whether the provider's own check has nothing left to find; see core.batchfile.fast_path."""


class EmbeddingsLine(Struct, gc=False, forbid_unknown_fields=True):
    """As ChatLine."""

    custom_id: CustomId
    method: Literal["POST"]
    url: Literal["/v1/embeddings"]
    body: EmbeddingsBody
    provider: str | None = None
    passed: ClassVar[bool] = False


class LooseLine(Struct, gc=False):
    """Any object, the known fields as they stand."""

    custom_id: Raw | UnsetType = UNSET
    provider: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    url: Raw | UnsetType = UNSET
    body: Raw | UnsetType = UNSET


class KnownFieldsOnly(LooseLine, gc=False, forbid_unknown_fields=True):
    """A LooseLine without other fields."""


class LooseBody(Struct, gc=False):
    """Any object, the checked fields as they stand."""

    model: Raw | UnsetType = UNSET
    messages: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    stream: Raw | UnsetType = UNSET


class Request(Struct, gc=False, frozen=True):
    """A valid line. `provider` is None where the model's prefix says it."""

    custom_id: str
    url: str
    body: Raw
    provider: str | None = None


_request_decoder = msgspec.json.Decoder(Request)
_loose_decoder = msgspec.json.Decoder(LooseLine)
_text_decoder = msgspec.json.Decoder(str)


def decode_request(raw: bytes) -> Request:
    """Take a valid line apart; `body` is a view into `raw`.

    Raises msgspec.DecodeError for a line that the scanner would have refused.
    """
    return _request_decoder.decode(raw)


def custom_id_of(raw: bytes) -> str:
    """The custom id of any line, good or bad; empty if it has none that can be read.

    Cut at MAX_CUSTOM_ID characters.
    """
    try:
        found = _loose_decoder.decode(raw).custom_id
        return "" if found is UNSET else _text_decoder.decode(found)[:MAX_CUSTOM_ID]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""

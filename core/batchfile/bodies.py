"""The bodies of lines, by their endpoint.

Bodies as the vendors' SDKs type them (openai 3.54 types/*_create_params.py, images of batches:
image_edit_params.py as JSON; anthropic 2.12 types/message_create_params.py; google-genai 3.4
types.py GenerateContentRequest). The types name only what is checked; the rest of a body is
skipped over (but has to be JSON).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from core.batchfile.asking import Asking
from core.endpoints import (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    GENERATE_CONTENT,
    IMAGE_EDITS,
    IMAGE_GENERATIONS,
    MESSAGES,
    MODERATIONS,
    RESPONSES,
)

MAX_MODEL = 256
"""Characters. A file's models are kept in its row and in memory."""

_Text = Annotated[str, Meta(min_length=1)]
_Model = Annotated[str, Meta(min_length=1, max_length=MAX_MODEL)]
_AnyModel = Annotated[str, Meta(max_length=MAX_MODEL)]
_Token = Annotated[int, Meta(ge=0)]


class AnyObject(Struct, gc=False):
    """Any object."""


Objects = Annotated[list[AnyObject], Meta(min_length=1)]
Input = (
    _Text
    | Annotated[
        list[_Text | _Token | Annotated[list[_Token], Meta(min_length=1)]], Meta(min_length=1)
    ]
)
"""A text, or a list of texts, of token ids or of lists of token ids (not of a mixture)."""
Prompt = str | list[str | _Token | list[_Token]]
"""As Input, but may be empty."""
TextOrObjects = _Text | Objects
Moderated = _Text | Annotated[list[_Text | AnyObject], Meta(min_length=1)]


def is_mixture(found: object) -> bool:
    """Whether a decoded Input is a list of different types."""
    return type(found) is list and len(set(map(type, found))) > 1


class ChatBody(Asking, kw_only=True, gc=False):
    """Body of a chat completion."""

    model: _Model
    messages: Objects
    stream: bool | None = None


class EmbeddingsBody(Struct, gc=False):
    """Body of an embeddings request."""

    model: _Model
    input: Input
    stream: bool | None = None

    def __post_init__(self) -> None:
        if is_mixture(self.input):
            raise ValueError("input is a mixture")


class ResponsesBody(Asking, kw_only=True, gc=False):
    """Body of a response; without input where a stored prompt has it all."""

    model: _Model
    input: TextOrObjects | None = None
    prompt: AnyObject | None = None
    stream: bool | None = None

    def __post_init__(self) -> None:
        if self.input is None and self.prompt is None:
            raise ValueError("input is missing")


class CompletionsBody(Asking, kw_only=True, gc=False):
    """Body of a completion."""

    model: _Model
    prompt: Prompt
    stream: bool | None = None

    def __post_init__(self) -> None:
        if is_mixture(self.prompt):
            raise ValueError("prompt is a mixture")


class ModerationsBody(Struct, gc=False):
    """Body of a moderation; the model has a default."""

    input: Moderated
    model: _AnyModel = ""
    stream: bool | None = None


class ImageBody(Asking, kw_only=True, gc=False):
    """Body of a generation of images."""

    model: _Model
    prompt: _Text
    stream: bool | None = None


class ImageEditBody(Asking, kw_only=True, gc=False):
    """Body of an edit of images, which a batch takes as JSON."""

    model: _Model
    prompt: _Text
    images: Objects
    stream: bool | None = None


class MessagesBody(Asking, kw_only=True, gc=False):
    """Parameters of a message."""

    model: _Model
    messages: Objects
    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None


class GenerateContentBody(Asking, kw_only=True, gc=False):
    """A GenerateContentRequest."""

    contents: Objects
    model: _AnyModel = ""
    stream: bool | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a body that has to be there."""

    name: str
    decoder: msgspec.json.Decoder[Any]
    expected: str
    """In words."""
    uniform: bool = False
    """Whether a list must not be a mixture of types."""
    unless: str = ""
    """The member that takes its place."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What its lines hold."""

    body: type[Struct]
    """For lines that are right: has `model` and `stream`, and where there is an answer whose
    length counts, what Asking has."""
    fields: tuple[Field, ...]
    default_model: str | None = None
    """What a line without a model asks for; None: it has to name one."""


_OBJECTS = "a list of at least one object"
_messages = Field("messages", msgspec.json.Decoder(Objects), _OBJECTS)
_prompt = Field("prompt", msgspec.json.Decoder(_Text), "a string that is not empty")

BY_URL: Mapping[str, Endpoint] = {
    CHAT_COMPLETIONS: Endpoint(ChatBody, (_messages,)),
    EMBEDDINGS: Endpoint(
        EmbeddingsBody,
        (
            Field(
                "input",
                msgspec.json.Decoder(Input),
                "a string that is not empty, or a list of such strings, of token ids or of lists "
                "of token ids",
                uniform=True,
            ),
        ),
    ),
    RESPONSES: Endpoint(
        ResponsesBody,
        (
            Field(
                "input",
                msgspec.json.Decoder(TextOrObjects),
                "a string that is not empty, or a list of at least one item",
                unless="prompt",
            ),
        ),
    ),
    COMPLETIONS: Endpoint(
        CompletionsBody,
        (
            Field(
                "prompt",
                msgspec.json.Decoder(Prompt),
                "a string, or a list of strings, of token ids or of lists of token ids",
                uniform=True,
            ),
        ),
    ),
    MODERATIONS: Endpoint(
        ModerationsBody,
        (
            Field(
                "input",
                msgspec.json.Decoder(Moderated),
                "a string that is not empty, or a list of such strings or of objects",
            ),
        ),
        default_model="omni-moderation-latest",
    ),
    IMAGE_GENERATIONS: Endpoint(ImageBody, (_prompt,)),
    IMAGE_EDITS: Endpoint(
        ImageEditBody, (_prompt, Field("images", msgspec.json.Decoder(Objects), _OBJECTS))
    ),
    MESSAGES: Endpoint(
        MessagesBody,
        (
            _messages,
            Field(
                "max_tokens",
                msgspec.json.Decoder(Annotated[int, Meta(ge=1)]),
                "a whole number of at least 1",
            ),
        ),
    ),
    GENERATE_CONTENT: Endpoint(
        GenerateContentBody,
        (Field("contents", msgspec.json.Decoder(Objects), _OBJECTS),),
        default_model="",
    ),
}

URLS = tuple(url for url in BY_URL if url != GENERATE_CONTENT)
"""What a line's `url` may be."""

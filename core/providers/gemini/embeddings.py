"""Embeddings requests to Gemini's EmbedContentRequest, and its answers back.

Sources: ai.google.dev/api/batch-api (asyncBatchEmbedContent), the notebook of the batch
guide (cookbook Batch_mode.ipynb): {"key", "request": {"content", "output_dimensionality"}}
a line, and {"response": {"tokenCount": "1", "embedding": {"values": []}}, "key"} back.
One content gives one embedding, so a request has to have one input.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from core.prices.usage import Usage
from core.providers.contract import LineRejected
from core.providers.gemini.completion import NoAnswer
from core.providers.line_errors import EMPTY_ANSWER
from core.providers.parsing import token_count
from core.providers.translation.chat_fields import read_fields
from core.providers.translation.report import IGNORED, Note, Report, decode

BASE64 = ":base64"
"""Behind the key of a line whose embedding is to be given so: nothing else of a request
comes back with its answer. Our ids have no colon."""

NULL = Raw(b"null")
_NO_VALUES = Raw(b"[]")

_input = msgspec.json.Decoder(
    Annotated[str, Meta(min_length=1)] | list[Annotated[str, Meta(min_length=1)]]
)
_dimensions = msgspec.json.Decoder(Annotated[int, Meta(ge=1)])
_format = msgspec.json.Decoder(Literal["float", "base64"])
_encoder = msgspec.json.Encoder()

_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


class _Embedding(msgspec.Struct):
    values: Raw


class _Answer(msgspec.Struct):
    embedding: _Embedding
    tokenCount: Any = 0


_answer = msgspec.json.Decoder(_Answer)
_numbers = msgspec.json.Decoder(list[float])


def translate_embedding(
    body: bytes | Raw, *, lenient: bool = False
) -> tuple[bytes, bool, Sequence[Note]]:
    """Turn the body of an embeddings request into an EmbedContentRequest.

    Gives JSON without a newline, whether the answer is wanted as base64, and what was
    dropped. Raises LineRejected.
    """
    report = Report(lenient)
    given = read_fields(body)
    for key in given:
        if key not in _KNOWN:
            report.lose(f"body.{key}")
    if "user" in given:
        report.note("body.user", IGNORED, "user has no effect on the answer.")
    request: dict[str, Any] = {"content": {"parts": [{"text": _text(given)}]}}
    if "dimensions" in given:
        decode(_dimensions, given["dimensions"], "body.dimensions", "a whole number from 1 on")
        request["outputDimensionality"] = given["dimensions"]
    base64 = False
    if "encoding_format" in given:
        path = "body.encoding_format"
        base64 = decode(_format, given["encoding_format"], path, "float or base64") == "base64"
    return _encoder.encode(request), base64, report.notes


def check_embedding(body: bytes | Raw) -> Sequence[Note]:
    """What the translation of a body would change, lose and refuse."""
    try:
        _, _, notes = translate_embedding(body, lenient=True)
    except LineRejected as error:
        return (Note(error.field, error.reason, error.message, "refused"),)
    return notes


def _text(given: dict[str, Raw]) -> str:
    if "input" not in given:
        raise LineRejected("body.input", "missing_field", "An input is needed.")
    found = decode(_input, given["input"], "body.input", "a text; Gemini takes no tokens")
    texts = [found] if isinstance(found, str) else found
    if len(texts) != 1:
        raise LineRejected(
            "body.input",
            "unsupported_value",
            f"Gemini makes one embedding a request: {len(texts)} inputs have to be as many lines.",
        )
    return texts[0]


def answer_embedding(raw: Raw, model: str, *, base64: bool) -> tuple[dict[str, Any], Usage]:
    """The embeddings list of OpenAI's form, and its usage.

    Raises NoAnswer, msgspec.DecodeError.
    """
    answer = _answer.decode(raw)
    values: Raw | str = answer.embedding.values
    if values in (NULL, _NO_VALUES):
        raise NoAnswer(EMPTY_ANSWER, "The provider answered with an embedding without values.")
    if base64:
        # As at OpenAI: 32-bit floats, the lowest byte first.
        values = b64encode(array("f", _numbers.decode(values)).tobytes()).decode()
    try:
        # A 64-bit number, which JSON has as a text.
        tokens = token_count(int(answer.tokenCount or 0))
    except (TypeError, ValueError, OverflowError):
        tokens = 0
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": values}],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return body, Usage(input=tokens)

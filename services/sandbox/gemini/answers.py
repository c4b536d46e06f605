"""The lines of the files with Gemini's responses."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from services.sandbox import answers, embeddings
from services.sandbox.gemini.errors import CODES
from services.sandbox.gemini.lines import (
    EMBEDDING_DIMENSIONS,
    Embed,
    Generate,
    Line,
    Request,
    reader_of,
    version_of,
)
from services.sandbox.odd_answers import gemini_line
from services.sandbox.plan import Fate

_line_of = msgspec.json.Decoder(Line).decode


class FunctionCall(Struct, gc=False):
    name: str
    args: dict[str, Any]


class Part(Struct, gc=False, omit_defaults=True):
    text: str | None = None
    functionCall: FunctionCall | None = None
    thoughtSignature: str | None = None


class Content(Struct, gc=False):
    parts: list[Part]
    role: str = "model"


class Candidate(Struct, gc=False):
    content: Content
    finishReason: str
    index: int


class TokenDetail(Struct, gc=False):
    tokenCount: int
    modality: str = "TEXT"


class UsageMetadata(Struct, gc=False, omit_defaults=True):
    promptTokenCount: int
    candidatesTokenCount: int
    totalTokenCount: int
    promptTokensDetails: list[TokenDetail]
    thoughtsTokenCount: int = 0


class Generated(Struct, gc=False):
    candidates: list[Candidate]
    usageMetadata: UsageMetadata
    modelVersion: str
    responseId: str


class Embedding(Struct, gc=False):
    values: Raw


class Embedded(Struct, gc=False):
    tokenCount: str
    embedding: Embedding


class Status(Struct, gc=False):
    code: int
    message: str


class Answered(Struct, gc=False):
    key: str
    response: Generated | Embedded


class Failed(Struct, gc=False):
    key: str
    error: Status


_FAILURES = {
    Fate.INVALID: ("INVALID_ARGUMENT", "The sandbox was asked to refuse this request."),
    Fate.RATE_LIMIT: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    Fate.SERVER: ("INTERNAL", "An internal error has occurred."),
    Fate.OVERLOADED: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    Fate.TIMEOUT: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
_TORN = 40


class Answerer:
    """Makes the result lines of one batch for `model`."""

    def __init__(self, form: type[Request], batch_id: str, model: str) -> None:
        self._request_of = reader_of(form)
        self._seed = batch_id.rpartition("/")[2][:12]
        self._model = model
        self._signature = "c2FuZGJveA==" if version_of(model) >= (3, 0) else None
        self._encode = msgspec.json.Encoder().encode
        self.rows_at_once = 512 if form is Generate else 1

    def answer(self, index: int, raw: bytes) -> Answered:
        line = _line_of(raw)
        request = self._request_of(line.request)
        if isinstance(request, Embed):
            return Answered(line.key, self._embed(request))
        return Answered(line.key, self._generate(request, f"{self._seed}{index:06x}"))

    def failure(self, index: int, raw: bytes, fate: Fate) -> Failed:
        line = _line_of(raw)
        if fate is Fate.REFUSED:
            return Failed(line.key, Status(CODES["INVALID_ARGUMENT"], self._reason(line)))
        return Failed(line.key, _status(fate))

    def not_run(self, index: int, raw: bytes, code: str) -> None:
        """Of such a line nothing is said."""

    def odd(self, index: int, raw: bytes, fate: Fate) -> object:
        """The row of a line that was answered as nobody should believe."""
        return gemini_line(self.answer(index, raw), fate, raw)

    def torn(self, index: int, raw: bytes) -> Raw:
        return Raw(self._encode(self.answer(index, raw))[:_TORN])

    def unknown(self, number: int) -> Failed:
        return Failed(f"unknown-{self._seed}{number:06x}", _status(Fate.SERVER))

    def _generate(self, request: Generate, name: str) -> Generated:
        question = request.question
        config = request.generationConfig
        print_ = answers.fingerprint(self._model, question)
        prompt_tokens, output_tokens = request.measure(self._model, question)
        thoughts = request.thought_tokens(self._model)
        function = request.forced_function() if request.tools else None
        reason = "STOP"
        if function is not None:
            arguments = answers.example_object(function.schema, question)
            part = Part(
                functionCall=FunctionCall(function.name, arguments),
                thoughtSignature=self._signature,
            )
        else:
            text, cut = answers.compose(print_, question, config.maxOutputTokens)
            if config.responseMimeType == "application/json" and not cut:
                schema = config.responseJsonSchema or config.responseSchema
                example = answers.example_of(schema, text) if schema else {"answer": text}
                text = self._encode(example).decode()
            reason = "MAX_TOKENS" if cut else "STOP"
            part = Part(text=text)
        return Generated(
            [Candidate(Content([part]), reason, index) for index in range(config.candidateCount)],
            UsageMetadata(
                prompt_tokens,
                output_tokens - thoughts,
                prompt_tokens + output_tokens,
                [TokenDetail(prompt_tokens)],
                thoughts,
            ),
            self._model,
            f"{print_}{name}",
        )

    def _embed(self, request: Embed) -> Embedded:
        dimensions = request.outputDimensionality or EMBEDDING_DIMENSIONS
        values = embeddings.vector(request.text.encode(), self._model, dimensions, base64=False)
        return Embedded(str(request.tokens), Embedding(Raw(values)))

    def _reason(self, line: Line) -> str:
        try:
            problem = self._request_of(line.request).problem(self._model)
        except msgspec.DecodeError as error:
            what, _, where = str(error).partition(" - at `$.")
            return f"Invalid value at '{where.rstrip('`')}': {what}" if where else what
        return problem or _FAILURES[Fate.INVALID][1]


def _status(fate: Fate) -> Status:
    name, message = _FAILURES[fate]
    return Status(CODES[name], message)

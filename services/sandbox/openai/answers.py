"""The rows of OpenAI's output and error files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from services.sandbox import answers, embeddings
from services.sandbox.odd_answers import openai_row
from services.sandbox.openai.lines import DIMENSIONS, Body, Chat, Embedding, Line, ResponseFormat
from services.sandbox.openai.reasoning import reasons
from services.sandbox.openai.response_answers import respond
from services.sandbox.openai.responses import Responses, refusal_of
from services.sandbox.plan import Fate

_line_of = msgspec.json.Decoder(Line).decode


class Call(Struct, gc=False):
    name: str
    arguments: str


class ToolCall(Struct, gc=False):
    id: str
    type: str
    function: Call


class AnswerMessage(Struct, gc=False, omit_defaults=True):
    role: str
    content: str | None
    refusal: None
    annotations: tuple[()]
    tool_calls: list[ToolCall] | None = None


class Choice(Struct, gc=False):
    index: int
    message: AnswerMessage
    logprobs: None
    finish_reason: str


class ChatUsage(Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: Raw = Raw(b'{"cached_tokens":0,"audio_tokens":0}')
    completion_tokens_details: Raw = Raw(
        b'{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,'
        b'"rejected_prediction_tokens":0}'
    )


class Completion(Struct, gc=False):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    service_tier: str = "default"
    system_fingerprint: str | None = "fp_sandbox"


class EmbeddingItem(Struct, gc=False):
    object: str
    index: int
    embedding: Raw


class EmbeddingUsage(Struct, gc=False):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, gc=False):
    object: str
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


class RowError(Struct, gc=False):
    code: str
    message: str


class ErrorDetail(Struct, gc=False):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Struct, gc=False):
    error: ErrorDetail


class Response(Struct, gc=False):
    status_code: int
    request_id: str
    body: Completion | EmbeddingList | ErrorBody | dict[str, Any]


class Row(Struct, gc=False):
    id: str
    custom_id: str
    response: Response | None
    error: RowError | None


_FAILURES = {
    Fate.INVALID: (
        400,
        ErrorDetail("The sandbox was asked to refuse this request.", "invalid_request_error"),
    ),
    Fate.RATE_LIMIT: (
        429,
        ErrorDetail("Rate limit reached.", "requests", code="rate_limit_exceeded"),
    ),
    Fate.SERVER: (
        500,
        ErrorDetail("The server had an error while processing your request.", "server_error"),
    ),
    Fate.OVERLOADED: (
        503,
        ErrorDetail("The engine is currently overloaded, please try again.", "server_error"),
    ),
    Fate.TIMEOUT: (408, ErrorDetail("Request timed out.", "timeout", code="request_timeout")),
}
_TORN = 40


class Answerer:
    """Makes the rows of one batch. `created` is a POSIX time in seconds."""

    def __init__(self, body_type: type[Body], batch_id: str, created: int) -> None:
        self._body_of = msgspec.json.Decoder(body_type).decode
        self._is_responses = body_type is Responses
        self._seed = batch_id.rpartition("_")[2][:12]
        self._created = created
        self._encode = msgspec.json.Encoder().encode
        self.rows_at_once = 1 if body_type is Embedding else 512

    def answer(self, index: int, raw: bytes) -> Row:
        """The row of a line that was run and went well."""
        line = _line_of(raw)
        body = self._body_of(line.body)
        name = f"{self._seed}{index:06x}"
        done: Completion | EmbeddingList | dict[str, Any]
        if isinstance(body, Chat):
            done = self._chat(body, name)
        elif isinstance(body, Embedding):
            done = self._embedding(body)
        elif isinstance(body, Responses):
            done = respond(body, line.body, name, self._created, reasons=reasons(body.model))
        else:
            done = body.answer(name, self._created)
        return Row(f"batch_req_{name}", line.custom_id, Response(200, f"req_{name}", done), None)

    def failure(self, index: int, raw: bytes, fate: Fate) -> Row:
        """The row of a line that was run and went wrong."""
        line = _line_of(raw)
        status, detail = (400, self._reason(line)) if fate is Fate.REFUSED else _FAILURES[fate]
        name = f"{self._seed}{index:06x}"
        response = Response(status, f"req_{name}", ErrorBody(detail))
        return Row(f"batch_req_{name}", line.custom_id, response, None)

    def not_run(self, index: int, raw: bytes, code: str) -> Row:
        """The row of a line that was never run; `code` is batch_expired or batch_cancelled."""
        message = (
            "This request could not be executed before the completion window expired."
            if code == "batch_expired"
            else "This request was not executed because the batch was cancelled."
        )
        name = f"{self._seed}{index:06x}"
        return Row(f"batch_req_{name}", _line_of(raw).custom_id, None, RowError(code, message))

    def odd(self, index: int, raw: bytes, fate: Fate) -> object:
        """The row of a line that was answered as nobody should believe."""
        return openai_row(self.answer(index, raw), fate, raw)

    def torn(self, index: int, raw: bytes) -> Raw:
        """A row that breaks off in the middle of its JSON."""
        return Raw(self._encode(self.answer(index, raw))[:_TORN])

    def unknown(self, number: int) -> Row:
        """A row for a request that nobody made."""
        name = f"{self._seed}{number:06x}"
        error = RowError("batch_expired", "A row of the sandbox for a request that nobody made.")
        return Row(f"batch_req_x{name}", f"unknown-{name}", None, error)

    def _chat(self, chat: Chat, name: str) -> Completion:
        question = chat.question
        prompt_tokens, completion_tokens = chat.measure(question)
        print_ = answers.fingerprint(chat.model, question)
        function = chat.forced_tool() if chat.tools else None
        if function is not None:
            example = answers.example_object(function.parameters, question)
            arguments = self._encode(example).decode()
            call = ToolCall(f"call_{print_}{name}", "function", Call(function.name, arguments))
            message = AnswerMessage("assistant", None, None, (), [call])
            finish = "tool_calls"
        else:
            text, cut = answers.compose(print_, question, chat.limit)
            if cut and reasons(chat.model):
                text = ""
            elif chat.response_format and not cut:
                text = self._as_json(chat.response_format, text)
            finish = "length" if cut else "stop"
            message = AnswerMessage("assistant", text, None, ())
        return Completion(
            f"chatcmpl-{print_}{name}",
            "chat.completion",
            self._created,
            chat.model,
            [Choice(index, message, None, finish) for index in range(chat.n or 1)],
            ChatUsage(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens),
        )

    def _as_json(self, wanted: ResponseFormat, text: str) -> str:
        if wanted.json_schema is not None:
            return self._encode(answers.example_of(wanted.json_schema.schema, text)).decode()
        if wanted.type == "json_object":
            return self._encode({"answer": text}).decode()
        return text

    def _embedding(self, body: Embedding) -> EmbeddingList:
        dimensions = body.dimensions or DIMENSIONS.get(body.model, 1536)
        base64 = body.encoding_format == "base64"
        items = [
            EmbeddingItem(
                "embedding",
                index,
                Raw(embeddings.vector(_key_of(text), body.model, dimensions, base64)),
            )
            for index, text in enumerate(body.texts)
        ]
        usage = EmbeddingUsage(body.tokens, body.tokens)
        return EmbeddingList("list", items, body.model, usage)

    def _reason(self, line: Line) -> ErrorDetail:
        try:
            self._body_of(line.body)
        except msgspec.DecodeError as error:
            what, _, where = str(error).partition(" - at `$.")
            param = where.rstrip("`") or None
            if what.startswith(("Unsupported parameter", "Unsupported value")):
                param = what.split("'")[1]
                code = "unsupported_parameter" if "parameter:" in what else "unsupported_value"
                return ErrorDetail(what, "invalid_request_error", param, code)
            if self._is_responses:
                message, param, code = refusal_of(what, param)
                return ErrorDetail(message, "invalid_request_error", param, code)
            return ErrorDetail(
                f"Invalid request: {what}" + (f" at '{param}'." if param else "."),
                "invalid_request_error",
                param,
                "unknown_parameter" if "unknown field" in what else "invalid_value",
            )
        return ErrorDetail("Invalid request.", "invalid_request_error")


def _key_of(text: str | Sequence[int]) -> bytes:
    return text.encode() if type(text) is str else repr(text).encode()

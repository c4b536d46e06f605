"""The lines of Anthropic's results."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from services.sandbox import answers
from services.sandbox.anthropic.lines import Line, Params
from services.sandbox.odd_answers import anthropic_line
from services.sandbox.plan import Fate

_line_of = msgspec.json.Decoder(Line).decode
_params_of = msgspec.json.Decoder(Params).decode


class TextBlock(Struct, gc=False, tag_field="type", tag="text"):
    text: str


class ToolUseBlock(Struct, gc=False, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


class Usage(Struct, gc=False):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    service_tier: str = "batch"


class AnswerMessage(Struct, gc=False, tag_field="type", tag="message"):
    id: str
    role: str
    model: str
    content: list[TextBlock | ToolUseBlock]
    stop_reason: str
    stop_sequence: None
    usage: Usage


class ErrorDetail(Struct, gc=False):
    type: str
    message: str


class ErrorAnswer(Struct, gc=False, tag_field="type", tag="error"):
    error: ErrorDetail
    request_id: str


class Succeeded(Struct, gc=False, tag_field="type", tag="succeeded"):
    message: AnswerMessage


class Errored(Struct, gc=False, tag_field="type", tag="errored"):
    error: ErrorAnswer


class NotRun(Struct, gc=False):
    type: Literal["canceled", "expired"]


class ResultLine(Struct, gc=False):
    custom_id: str
    result: Succeeded | Errored | NotRun


_FAILURES = {
    Fate.INVALID: ErrorDetail(
        "invalid_request_error", "The sandbox was asked to refuse this request."
    ),
    Fate.RATE_LIMIT: ErrorDetail("rate_limit_error", "Rate limited"),
    Fate.SERVER: ErrorDetail("api_error", "Internal server error"),
    Fate.OVERLOADED: ErrorDetail("overloaded_error", "Overloaded"),
    Fate.TIMEOUT: ErrorDetail("timeout_error", "Request timed out"),
}
_TORN = 40


class Answerer:
    """Makes the result lines of one batch, made under API version `version`."""

    rows_at_once = 512

    def __init__(self, batch_id: str, version: str) -> None:
        self._seed = batch_id.rpartition("_")[2][:12]
        self._version = version
        self._encode = msgspec.json.Encoder().encode

    def answer(self, index: int, raw: bytes) -> ResultLine:
        line = _line_of(raw)
        params = _params_of(line.params)
        question = params.question
        name = f"{self._seed}{index:06x}"
        print_ = answers.fingerprint(params.model, question)
        tool = params.forced_tool() if params.tools else None
        block: TextBlock | ToolUseBlock
        if tool is not None:
            example = answers.example_object(tool.input_schema, question)
            block = ToolUseBlock(f"toolu_{print_}{name}", tool.name, example)
            reason = "tool_use"
        else:
            text, cut = answers.compose(print_, question, params.max_tokens)
            if params.output_config and params.output_config.format and not cut:
                example = answers.example_of(params.output_config.format.schema, text)
                text = self._encode(example).decode()
            block = TextBlock(text)
            reason = "max_tokens" if cut else "end_turn"
        message = AnswerMessage(
            f"msg_{print_}{name}",
            "assistant",
            params.model,
            [block],
            reason,
            None,
            Usage(*params.measure(question)),
        )
        return ResultLine(line.custom_id, Succeeded(message))

    def failure(self, index: int, raw: bytes, fate: Fate) -> ResultLine:
        line = _line_of(raw)
        detail = self._reason(line) if fate is Fate.REFUSED else _FAILURES[fate]
        error = ErrorAnswer(detail, f"req_{self._seed}{index:06x}")
        return ResultLine(line.custom_id, Errored(error))

    def not_run(self, index: int, raw: bytes, code: str) -> ResultLine:
        return ResultLine(
            _line_of(raw).custom_id, NotRun("expired" if code == "batch_expired" else "canceled")
        )

    def odd(self, index: int, raw: bytes, fate: Fate) -> object:
        """The row of a line that was answered as nobody should believe."""
        return anthropic_line(self.answer(index, raw), fate, raw)

    def torn(self, index: int, raw: bytes) -> Raw:
        return Raw(self._encode(self.answer(index, raw))[:_TORN])

    def unknown(self, number: int) -> ResultLine:
        return ResultLine(f"unknown-{self._seed}{number:06x}", NotRun("expired"))

    def _reason(self, line: Line) -> ErrorDetail:
        try:
            problem = _params_of(line.params).problem(self._version)
        except msgspec.DecodeError as error:
            what, _, where = str(error).partition(" - at `$.")
            if where:
                what = f"{where.rstrip('`')}: {what}"
            return ErrorDetail("invalid_request_error", what)
        return ErrorDetail(*problem) if problem else _FAILURES[Fate.INVALID]

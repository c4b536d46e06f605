"""Messages to chat completions, and the lines of an Anthropic result file.

Sources: anthropic 2.12.0 types/message.py, types/messages/message_batch_*_result.py; openai
3.54.0 types/chat/chat_completion.py. A field in a form that nobody knows must never cost
the line: whatever is not understood is left out, and the native stop reason and usage stay
under "native".
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.contract import Outcome, ResultLine, Usage
from core.providers.parsing import count_of
from core.providers.result_lines import UnreadableLine

Raw = msgspec.Raw
NULL = Raw(b"null")
Loose = str | list[Any] | int | float | bool | None

STATUS_BY_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

RETRYABLE_ERRORS = frozenset({"api_error", "overloaded_error", "rate_limit_error", "timeout_error"})

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Block(msgspec.Struct):
    """A content block of any type."""

    type: str = ""
    text: Any = None
    thinking: Any = None
    id: Any = None
    name: Any = None
    input: Raw = NULL


class _NativeUsage(msgspec.Struct):
    input_tokens: Any = 0
    cache_creation_input_tokens: Any = 0
    cache_read_input_tokens: Any = 0
    output_tokens: Any = 0
    output_tokens_details: Any = None


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    content: list[_Block] = []
    stop_reason: Any = None
    stop_sequence: Any = None
    stop_details: Any = None
    usage: Raw = NULL


class _Result(msgspec.Struct):
    type: str
    message: Raw = NULL
    error: Any = None


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct, kw_only=True):
    id: str
    type: str = "function"
    function: _Function


class _Answer(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | None
    refusal: str | None
    tool_calls: list[_ToolCall] | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, kw_only=True):
    index: int = 0
    message: _Answer
    logprobs: None = None
    finish_reason: str


class _PromptDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int


class _OpenAIUsageDetails(msgspec.Struct):
    reasoning_tokens: int


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _OpenAIUsageDetails


class _Native(msgspec.Struct):
    stop_reason: Any
    stop_sequence: Any
    usage: Raw


class _Completion(msgspec.Struct, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage
    native: _Native


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: Any


_line = msgspec.json.Decoder(_Line)
_message = msgspec.json.Decoder(_Message)
_native_usage = msgspec.json.Decoder(_NativeUsage | Loose)
_encoder = msgspec.json.Encoder()


def read_line(line: bytes, created: int) -> ResultLine:
    """Turn a line of an Anthropic result file into a result line of OpenAI's form.

    `created`: seconds since 1970, for the answer's "created". Raises UnreadableLine if it is
    not JSON or names no custom_id.
    """
    try:
        parsed = _line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableLine from None
    result = parsed.result
    if result.type == "succeeded":
        return _succeeded(parsed.custom_id, result, created)
    if result.type == "errored":
        return _errored(parsed.custom_id, result.error)
    if result.type == "expired":
        return _not_run(
            parsed.custom_id, Outcome.EXPIRED, "batch_expired", "The batch's time ran out first."
        )
    if result.type == "canceled":
        return _not_run(
            parsed.custom_id, Outcome.CANCELLED, "batch_cancelled", "The batch was cancelled first."
        )
    return _not_run(
        parsed.custom_id,
        Outcome.FAILED,
        "unknown_result",
        f"The provider answered with a result of the unknown type {result.type[:50]!r}.",
    )


def _succeeded(custom_id: str, result: _Result, created: int) -> ResultLine:
    try:
        message = _message.decode(result.message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # It was paid for, and sending it again would be paid again: kept as it came.
        response = _encoder.encode(_Response(200, "", result.message))
        return ResultLine(custom_id, Outcome.FAILED, "", response, None)
    completion, usage = translate_message(message, created)
    response = _encoder.encode(_Response(200, "", completion))
    return ResultLine(custom_id, Outcome.SUCCEEDED, "", response, None, usage)


def translate_message(message: _Message, created: int) -> tuple[_Completion, Usage]:
    """Turn a message into a chat completion."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[_ToolCall] = []
    for block in message.content:
        if block.type == "text" and isinstance(block.text, str):
            texts.append(block.text)
        elif block.type == "thinking" and isinstance(block.thinking, str):
            thoughts.append(block.thinking)
        elif block.type == "tool_use":
            calls.append(_tool_call(block))
    content = "".join(texts) if texts else None
    stop_reason = message.stop_reason
    answer = _Answer(
        content=content,
        refusal=_refusal(message, content) if stop_reason == "refusal" else None,
        role="assistant",
        tool_calls=calls or None,
        reasoning_content="".join(thoughts) or None,
    )
    finish = FINISH_REASONS.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"
    tokens, usage = tokens_of(message.usage)
    completion = _Completion(
        id=message.id,
        created=created,
        model=message.model,
        choices=[_Choice(message=answer, finish_reason=finish)],
        usage=tokens,
        native=_Native(stop_reason, message.stop_sequence, message.usage),
    )
    return completion, usage


def _tool_call(block: _Block) -> _ToolCall:
    arguments = "{}" if block.input == NULL else bytes(block.input).decode()
    return _ToolCall(
        id=block.id if isinstance(block.id, str) else "",
        function=_Function(block.name if isinstance(block.name, str) else "", arguments),
    )


def _refusal(message: _Message, content: str | None) -> str:
    details = message.stop_details
    told = details.get("explanation") if isinstance(details, dict) else None
    return told if isinstance(told, str) and told else content or "The model refused to answer."


def tokens_of(raw: Raw) -> tuple[_Usage, Usage]:
    """The usage of a message, in OpenAI's form and in ours; nothing where it is odd."""
    try:
        native = _native_usage.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # It was skipped over so far; a number out of range is told only now.
        native = None
    if not isinstance(native, _NativeUsage):
        native = _NativeUsage()
    cached = count_of(native.cache_read_input_tokens)
    written = count_of(native.cache_creation_input_tokens)
    prompt = count_of(native.input_tokens) + written + cached
    output = count_of(native.output_tokens)
    details = native.output_tokens_details
    reasoning = count_of(details.get("thinking_tokens")) if isinstance(details, dict) else 0
    tokens = _Usage(
        prompt_tokens=prompt,
        completion_tokens=output,
        total_tokens=prompt + output,
        prompt_tokens_details=_PromptDetails(cached, written),
        completion_tokens_details=_OpenAIUsageDetails(reasoning),
    )
    return tokens, Usage(prompt, cached, output, reasoning)


def _errored(custom_id: str, envelope: Any) -> ResultLine:
    # {"type": "error", "error": {"type", "message"}, "request_id"}
    envelope = envelope if isinstance(envelope, dict) else {}
    error = envelope.get("error")
    error = error if isinstance(error, dict) else envelope
    kind, message = error.get("type"), error.get("message")
    kind = kind if isinstance(kind, str) and kind else "api_error"
    request_id = envelope.get("request_id")
    body = {
        "error": {
            "message": message if isinstance(message, str) else "The provider gave no reason.",
            "type": kind,
            "param": None,
            "code": kind,
        }
    }
    response = _Response(
        STATUS_BY_ERROR.get(kind, 500), request_id if isinstance(request_id, str) else "", body
    )
    outcome = Outcome.RETRYABLE if kind in RETRYABLE_ERRORS else Outcome.FAILED
    return ResultLine(custom_id, outcome, "", _encoder.encode(response), None)


def _not_run(custom_id: str, outcome: Outcome, code: str, message: str) -> ResultLine:
    return ResultLine(
        custom_id, outcome, "", None, _encoder.encode({"code": code, "message": message})
    )

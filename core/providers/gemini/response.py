"""Gemini's responses to chat completions, and the lines of its result files.

Sources: google-genai 3.4 types.py (GenerateContentResponse, FinishReason, BlockedReason,
UsageMetadata), the batch guide and its notebook (google-gemini/cookbook Batch_mode.ipynb:
{"key", "response"} a line); openai 3.54 types/chat/chat_completion.py. A field in a form that
nobody knows must never cost the line: whatever is not understood is left out, and what has
no place in a chat completion stays under "native".
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.contract import Outcome, ResultLine, Usage
from core.providers.gemini.embeddings import BASE64, answer_embedding
from core.providers.gemini.wire import TRANSIENT, read_status
from core.providers.parsing import count_of
from core.providers.result_lines import UnreadableLine

Raw = msgspec.Raw
NULL = Raw(b"null")

BLOCKED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "MODEL_ARMOR",
        "PUP_LIMITED_DISABLED",
    }
)
"""Finish reasons of an answer that was held back."""


class _FunctionCall(msgspec.Struct):
    name: Any = None
    id: Any = None
    args: Raw = NULL


class _Part(msgspec.Struct):
    text: Any = None
    thought: Any = None
    thoughtSignature: Any = None
    functionCall: _FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct):
    content: _Content | None = None
    finishReason: Any = None
    finishMessage: Any = None
    index: Any = 0


class _Feedback(msgspec.Struct, omit_defaults=True):
    blockReason: Any = None
    blockReasonMessage: Any = None


class _Response(msgspec.Struct):
    candidates: list[_Candidate] | None = None
    promptFeedback: _Feedback | None = None
    usageMetadata: Raw = NULL
    modelVersion: Any = None
    responseId: Any = None
    embedding: Raw = NULL


class _RawContent(msgspec.Struct):
    parts: list[Raw] = []


class _RawCandidate(msgspec.Struct):
    content: _RawContent


class _RawParts(msgspec.Struct):
    """A response once more, for the parts that a chat completion has no place for."""

    candidates: list[_RawCandidate]


class _Counts(msgspec.Struct):
    promptTokenCount: Any = 0
    toolUsePromptTokenCount: Any = 0
    cachedContentTokenCount: Any = 0
    candidatesTokenCount: Any = 0
    thoughtsTokenCount: Any = 0


class _LineMetadata(msgspec.Struct):
    key: str = ""


class _Line(msgspec.Struct):
    key: str = ""
    metadata: _LineMetadata | None = None
    response: Raw = NULL
    error: Any = None
    status: Any = None


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct, kw_only=True, omit_defaults=True):
    id: str
    type: str
    function: _Function
    extra_content: dict[str, Any] | None = None


class _Answer(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | None
    refusal: str | None
    tool_calls: list[_ToolCall] | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, kw_only=True):
    index: int
    message: _Answer
    logprobs: None = None
    finish_reason: str


class _PromptDetails(msgspec.Struct):
    cached_tokens: int


class _OpenAIUsageDetails(msgspec.Struct):
    reasoning_tokens: int


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _OpenAIUsageDetails


class _Native(msgspec.Struct, omit_defaults=True):
    finish_reasons: list[Any]
    usage: Raw
    prompt_feedback: Any = None
    other_parts: list[Raw] | None = None
    """Such as images and code: a chat completion has no place for them."""


class _Completion(msgspec.Struct, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage
    native: _Native


class _Envelope(msgspec.Struct):
    status_code: int
    request_id: str
    body: Any


_line = msgspec.json.Decoder(_Line)
_response = msgspec.json.Decoder(_Response)
_raw_parts = msgspec.json.Decoder(_RawParts)
_counts = msgspec.json.Decoder(_Counts | str | list[Any] | int | float | bool | None)
_encoder = msgspec.json.Encoder()


def read_line(line: bytes, created: int, model: str) -> ResultLine:
    """Turn a line of a result file into a result line of OpenAI's form.

    `created`: seconds since 1970, for the answer's "created"; `model`: of the batch, for
    answers that name none. Raises UnreadableLine if it is not JSON or names no key.
    """
    try:
        parsed = _line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableLine from None
    key = parsed.key or (parsed.metadata.key if parsed.metadata else "")
    if not key:
        raise UnreadableLine
    custom_id = key.removesuffix(BASE64)
    if parsed.response == NULL:
        return _errored(custom_id, parsed.error or parsed.status)
    return _succeeded(custom_id, parsed.response, created, model, base64=key != custom_id)


def _succeeded(custom_id: str, raw: Raw, created: int, model: str, *, base64: bool) -> ResultLine:
    try:
        response = _response.decode(raw)
        if response.embedding != NULL:
            body, usage = answer_embedding(raw, model, base64=base64)
            envelope = _Envelope(200, "", body)
            return ResultLine(
                custom_id, Outcome.SUCCEEDED, "", _encoder.encode(envelope), None, usage
            )
        translated = _translate(response, raw, created, model)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        translated = None
    if translated is None:
        # It may have been paid for, and sending it again would be paid again: kept as it came.
        kept = _encoder.encode(_Envelope(200, "", raw))
        return ResultLine(custom_id, Outcome.FAILED, "", kept, None)
    completion, usage = translated
    answer = _encoder.encode(_Envelope(200, "", completion))
    return ResultLine(custom_id, Outcome.SUCCEEDED, completion.id, answer, None, usage)


def _translate(
    response: _Response, raw: Raw, created: int, model: str
) -> tuple[_Completion, Usage] | None:
    """Turn a response into a chat completion; None if it holds no answer of any kind."""
    response_id = response.responseId if isinstance(response.responseId, str) else ""
    version = response.modelVersion
    feedback = response.promptFeedback
    candidates = response.candidates or []
    others: list[tuple[int, int]] = []
    choices = [
        _choice(candidate, number, response_id, others)
        for number, candidate in enumerate(candidates)
    ]
    if not choices:
        if feedback is None or not feedback.blockReason:
            return None
        refusal = (
            _told(feedback.blockReasonMessage) or f"The prompt was blocked: {feedback.blockReason}"
        )
        answer = _Answer(role="assistant", content=None, refusal=refusal)
        choices = [_Choice(index=0, message=answer, finish_reason="content_filter")]
    tokens, usage = tokens_of(response.usageMetadata)
    completion = _Completion(
        id=response_id,
        created=created,
        model=version if isinstance(version, str) and version else model,
        choices=choices,
        usage=tokens,
        native=_Native(
            finish_reasons=[candidate.finishReason for candidate in candidates],
            usage=response.usageMetadata,
            prompt_feedback=feedback,
            other_parts=_parts_at(raw, others) if others else None,
        ),
    )
    return completion, usage


def _choice(
    candidate: _Candidate, number: int, response_id: str, others: list[tuple[int, int]]
) -> _Choice:
    """The choice that a candidate is; adds the places of parts that it cannot hold to `others`."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[_ToolCall] = []
    parts = (candidate.content.parts if candidate.content else None) or ()
    for place, part in enumerate(parts):
        if part.functionCall is not None:
            calls.append(_tool_call(part, f"call_{response_id or number}_{len(calls)}"))
        elif isinstance(part.text, str):
            (thoughts if part.thought is True else texts).append(part.text)
        elif part.thoughtSignature is None:
            others.append((number, place))
    reason = candidate.finishReason
    refusal = None
    if isinstance(reason, str) and reason in BLOCKED:
        refusal = _told(candidate.finishMessage) or f"The answer was blocked: {reason}"
        finish = "content_filter"
    elif reason in ("MAX_TOKENS", "CONTINUATION"):
        finish = "length"
    else:
        finish = "tool_calls" if calls else "stop"
    answer = _Answer(
        role="assistant",
        content="".join(texts) if texts else None,
        refusal=refusal,
        tool_calls=calls or None,
        reasoning_content="".join(thoughts) or None,
    )
    index = candidate.index if isinstance(candidate.index, int) else number
    return _Choice(index=index, message=answer, finish_reason=finish)


def _parts_at(raw: Raw, places: list[tuple[int, int]]) -> list[Raw]:
    candidates = _raw_parts.decode(raw).candidates
    return [candidates[number].content.parts[place] for number, place in places]


def _tool_call(part: _Part, made_id: str) -> _ToolCall:
    call = part.functionCall
    assert call is not None
    signature = part.thoughtSignature
    return _ToolCall(
        id=call.id if isinstance(call.id, str) and call.id else made_id,
        type="function",
        function=_Function(
            call.name if isinstance(call.name, str) else "",
            "{}" if call.args == NULL else bytes(call.args).decode(),
        ),
        # Where Google's own OpenAI compatibility has it: to be sent back with the call.
        extra_content={"google": {"thought_signature": signature}}
        if isinstance(signature, str)
        else None,
    )


def tokens_of(raw: Raw) -> tuple[_Usage, Usage]:
    """The usage of a response, in OpenAI's form and in ours; nothing where it is odd."""
    native = _counts.decode(raw)
    if not isinstance(native, _Counts):
        native = _Counts()
    prompt = count_of(native.promptTokenCount) + count_of(native.toolUsePromptTokenCount)
    cached = count_of(native.cachedContentTokenCount)
    reasoning = count_of(native.thoughtsTokenCount)
    output = count_of(native.candidatesTokenCount) + reasoning
    tokens = _Usage(
        prompt_tokens=prompt,
        completion_tokens=output,
        total_tokens=prompt + output,
        prompt_tokens_details=_PromptDetails(cached),
        completion_tokens_details=_OpenAIUsageDetails(reasoning),
    )
    return tokens, Usage(prompt, cached, output, reasoning)


def _told(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _errored(custom_id: str, error: Any) -> ResultLine:
    if not error:
        message = "The provider gave neither a response nor an error for this line."
        told = _encoder.encode({"code": "no_answer", "message": message})
        return ResultLine(custom_id, Outcome.RETRYABLE, "", None, told)
    name, status, message = read_status(error)
    if name == "CANCELLED":
        told = _encoder.encode({"code": "batch_cancelled", "message": message})
        return ResultLine(custom_id, Outcome.CANCELLED, "", None, told)
    body = {"error": {"message": message, "type": name, "param": None, "code": name}}
    outcome = Outcome.RETRYABLE if name in TRANSIENT else Outcome.FAILED
    response = _encoder.encode(_Envelope(status, "", body))
    return ResultLine(custom_id, outcome, "", response, None)

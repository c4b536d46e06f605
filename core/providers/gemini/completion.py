"""Gemini's responses, and the chat completions that they become.

Sources: google-genai 3.4 types.py (GenerateContentResponse, Candidate, Part, FinishReason,
UsageMetadata); openai 3.54 types/chat/chat_completion.py. A field in a form that nobody knows
must never cost the line: what a chat completion has no field for, and what is not understood,
stays under "native".
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.prices.usage import Usage
from core.providers.finish_reasons import BROKEN, GEMINI
from core.providers.gemini.candidates import (
    NULL,
    Candidate,
    Feedback,
    Part,
    Places,
    Response,
    is_known,
    members_left,
    parts_at,
    unknown_parts,
)
from core.providers.gemini.usage import read_usage
from core.providers.line_errors import EMPTY_ANSWER
from core.providers.translation.completion import (
    Answer,
    Choice,
    Completion,
    Function,
    Tokens,
    ToolCall,
)

Raw = msgspec.Raw


class NoAnswer(Exception):
    """A response that is no answer, though it came with a good status."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Native(msgspec.Struct, omit_defaults=True):
    """What the chat completion has no field for, under Gemini's own names of fields."""

    finish_reasons: list[Any]
    usage: Raw
    prompt_feedback: Any = None
    other_parts: list[Raw] | None = None
    """Such as images and code, and texts with a signature."""
    candidates: list[dict[str, Raw]] | None = None
    """Of each candidate, such as its grounding, citations and finish message."""
    other_fields: dict[str, Raw] | None = None
    """Of the response itself."""


def translate_response(
    response: Response, raw: Raw, created: int, model: str
) -> tuple[Completion, Usage]:
    """Turn a response into a chat completion.

    `raw`: the response; `created`: seconds since 1970; `model`: for a response that names none.
    Raises NoAnswer, msgspec.DecodeError.
    """
    response_id = response.responseId if isinstance(response.responseId, str) else ""
    version = response.modelVersion
    candidates = response.candidates or ()
    others: Places = []
    choices = [
        _choice(candidate, number, response_id, others)
        for number, candidate in enumerate(candidates)
    ]
    if not choices:
        choices = [_blocked(response.promptFeedback)]
    usage = read_usage(response.usageMetadata)
    native = _Native([candidate.finishReason for candidate in candidates], response.usageMetadata)
    if others or not is_known(response):
        # Most responses have nothing more.
        _keep_the_rest(native, response, raw, others)
    completion = Completion(
        id=response_id,
        created=created,
        model=version if isinstance(version, str) and version else model,
        choices=choices,
        usage=Tokens.of(usage, writes_caches=False),
        native=native,
    )
    return completion, usage


def _keep_the_rest(native: _Native, response: Response, raw: Raw, others: Places) -> None:
    native.prompt_feedback = response.promptFeedback
    left, fields = members_left(response, raw)
    native.candidates, native.other_fields = left or None, fields or None
    others += unknown_parts(response, raw)
    if others:
        native.other_parts = parts_at(raw, sorted(set(others)))


def _blocked(feedback: Feedback | None) -> Choice:
    """The choice of a prompt that was not answered."""
    if feedback is None or not feedback.blockReason:
        raise NoAnswer(EMPTY_ANSWER, "The provider answered without a candidate.")
    refusal = (
        _message_of(feedback.blockReasonMessage)
        or f"The prompt was blocked: {feedback.blockReason}"
    )
    answer = Answer(role="assistant", content=None, refusal=refusal)
    return Choice(index=0, message=answer, finish_reason="content_filter")


def _choice(candidate: Candidate, number: int, response_id: str, others: Places) -> Choice:
    """The choice that a candidate is; adds the places of parts that it cannot hold to `others`."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    answered = False
    parts = (candidate.content.parts if candidate.content else None) or ()
    for place, part in enumerate(parts):
        if part.functionCall is not None:
            calls.append(_tool_call(part, f"call_{response_id or number}_{len(calls)}"))
            continue
        if isinstance(part.text, str):
            (thoughts if part.thought is True else texts).append(part.text)
            if part.thoughtSignature is not None:
                others.append((number, place))
        else:
            others.append((number, place))
            answered = answered or part.thoughtSignature is None
    reason = candidate.finishReason
    finish = GEMINI.get(reason, "") if isinstance(reason, str) else ""
    if finish != "stop" or not texts:
        # Most answers need no more than the line above.
        _check(candidate, finish, answered=answered or bool(texts or calls))
    refusal = None
    if finish == "content_filter":
        refusal = _message_of(candidate.finishMessage) or f"The answer was blocked: {reason}"
    elif finish != "length":
        finish = "tool_calls" if calls else "stop"
    answer = Answer(
        role="assistant",
        # As at OpenAI: null only beside a call or a refusal.
        content="".join(texts) if texts or not (calls or refusal) else None,
        refusal=refusal,
        tool_calls=calls or None,
        reasoning_content="".join(thoughts) or None,
    )
    index = candidate.index if isinstance(candidate.index, int) else number
    return Choice(index=index, message=answer, finish_reason=finish)


def _check(candidate: Candidate, finish: str, *, answered: bool) -> None:
    """Raise NoAnswer for a candidate that must not be believed."""
    reason, message = candidate.finishReason, _message_of(candidate.finishMessage)
    if finish == BROKEN:
        raise NoAnswer(reason, message or f"The provider ended the answer with {reason}.")
    if answered or finish in ("length", "content_filter"):
        return
    known = finish or not isinstance(reason, str) or not reason
    raise NoAnswer(
        EMPTY_ANSWER if known else reason,
        message or f"The provider ended its answer with {reason}, and said nothing in it.",
    )


def _tool_call(part: Part, made_id: str) -> ToolCall:
    call = part.functionCall
    assert call is not None
    signature = part.thoughtSignature
    return ToolCall(
        id=call.id if isinstance(call.id, str) and call.id else made_id,
        type="function",
        function=Function(
            call.name if isinstance(call.name, str) else "",
            "{}" if call.args == NULL else bytes(call.args).decode(),
        ),
        # Where Google's own OpenAI compatibility has it: to be sent back with the call.
        extra_content={"google": {"thought_signature": signature}}
        if isinstance(signature, str)
        else None,
    )


def _message_of(value: Any) -> str:
    return value if isinstance(value, str) else ""

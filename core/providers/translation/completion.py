"""Chat completions, as translations make them of a provider's answers."""

from __future__ import annotations

from typing import Any

import msgspec

from core.prices.usage import Usage


class Function(msgspec.Struct, gc=False):
    """What the model wants called; `arguments` is JSON."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, gc=False, kw_only=True, omit_defaults=True):
    """One call."""

    id: str
    type: str
    function: Function
    extra_content: dict[str, Any] | None = None


class Answer(msgspec.Struct, gc=False, omit_defaults=True):
    """The assistant's message."""

    role: str
    content: str | msgspec.Raw | None
    refusal: str | None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct, gc=False, kw_only=True):
    """One of the answers."""

    index: int
    message: Answer
    logprobs: None = None
    finish_reason: str


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int
    cache_write_tokens: int | msgspec.UnsetType = msgspec.UNSET


class _AnswerDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int


class Tokens(msgspec.Struct, gc=False):
    """The usage of a completion."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _AnswerDetails

    @classmethod
    def of(cls, usage: Usage, *, writes_caches: bool) -> Tokens:
        """`writes_caches`: the provider tells what was written to its cache."""
        written = usage.cache_write_5m + usage.cache_write_1h
        return cls(
            prompt_tokens=usage.input,
            completion_tokens=usage.output,
            total_tokens=usage.input + usage.output,
            prompt_tokens_details=_PromptDetails(
                usage.cached_input, written if writes_caches else msgspec.UNSET
            ),
            completion_tokens_details=_AnswerDetails(usage.reasoning),
        )


class Completion(msgspec.Struct, gc=False, kw_only=True):
    """A chat completion."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Tokens
    native: Any
    """What a chat completion has no field for, under the provider's own names."""

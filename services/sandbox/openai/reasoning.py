"""What OpenAI's models that reason refuse of a chat completion.

Sources (2026-11): openai 3.54 types/chat/completion_create_params.py (max_tokens, stop);
developers.openai.com, guides/latest-model, its pages of GPT-5 to GPT-6 and
guides/deployment-checklist (sampling, tools, efforts); learn.microsoft.com, reasoning models
(penalties, logit_bias).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol

from msgspec import Raw

_REASONING = ("o1", "o3", "o4", "gpt-5", "gpt-6")
_DEFAULTS = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "logprobs": False,
}


class Chat(Protocol):
    """The body of a chat completion, as far as it matters here."""

    model: str
    max_tokens: int | None
    stop: Raw
    reasoning_effort: Any
    tools: Any
    logit_bias: Raw


class _Family(NamedTuple):
    models: re.Pattern[str]
    efforts: tuple[str, ...]
    effort: str = "medium"
    """Where a request names none."""
    stops: bool = True
    tools_while_reasoning: bool = True


_LOW = ("low", "medium", "high")
_DATED = r"(-\d{4}-\d\d-\d\d)?"
_FAMILIES = (
    _Family(re.compile(r"(o3|o4-mini)" + _DATED), _LOW, stops=False),
    _Family(re.compile(r"(o1|o3-mini)" + _DATED), _LOW),
    _Family(re.compile(r"gpt-5(-mini|-nano)?" + _DATED), ("minimal", *_LOW), stops=False),
    _Family(re.compile(r"gpt-5\.1" + _DATED), ("none", *_LOW), "none"),
    _Family(re.compile(r"gpt-5\.2" + _DATED), ("none", *_LOW, "xhigh"), "none"),
    _Family(
        re.compile(r"gpt-5\.4(-mini|-nano)?" + _DATED),
        ("none", *_LOW, "xhigh"),
        "none",
        tools_while_reasoning=False,
    ),
    _Family(
        re.compile(r"gpt-5\.6-.*|gpt-6-(sol|luna)"),
        ("none", *_LOW, "xhigh", "max"),
        tools_while_reasoning=False,
    ),
    _Family(
        re.compile(r"gpt-6-astra|gpt-6\.1-sol"),
        (*_LOW, "xhigh", "max"),
        tools_while_reasoning=False,
    ),
)
_OTHER = _Family(re.compile(""), ("none", "minimal", *_LOW, "xhigh", "max"))


def reasons(model: str) -> bool:
    """Whether a model thinks before it answers."""
    return model.startswith(_REASONING) and "-chat" not in model


def refusal(chat: Chat) -> str:
    """What the request's model, which reasons, does not take; empty if it takes all.

    Worded as the API does it, with the parameter in quotes.
    """
    family = next((each for each in _FAMILIES if each.models.fullmatch(chat.model)), _OTHER)
    if chat.max_tokens is not None:
        return (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        )
    if bytes(chat.stop) not in (b"", b"null") and not family.stops:
        return "Unsupported parameter: 'stop' is not supported with this model."
    if chat.reasoning_effort is not None and chat.reasoning_effort not in family.efforts:
        return (
            f"Unsupported value: 'reasoning_effort' does not support '{chat.reasoning_effort}' "
            "with this model."
        )
    if (chat.reasoning_effort or family.effort) == "none":
        return ""
    if chat.tools and not family.tools_while_reasoning:
        return (
            "Unsupported parameter: 'tools' are not supported with reasoning_effort for "
            f"{chat.model} in /v1/chat/completions. Use /v1/responses instead."
        )
    for name, default in _DEFAULTS.items():
        if getattr(chat, name) not in (None, default):
            return (
                f"Unsupported value: '{name}' does not support {getattr(chat, name)} with this "
                f"model. Only the default ({default}) value is supported."
            )
    if bytes(chat.logit_bias) not in (b"", b"null", b"{}"):
        return "Unsupported parameter: 'logit_bias' is not supported with this model."
    return ""

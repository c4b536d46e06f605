"""Where our chat completions differ from litellm's, and why: one function a difference.

Each takes its difference away, from `theirs` or, what only we have, from `mine`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


class Answer:
    """One of Anthropic's messages, and what both make of it."""

    def __init__(self, sent: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
        self.sent = sent
        self.mine = mine
        self.theirs = theirs

    @property
    def choices(self) -> tuple[dict[str, Any], dict[str, Any]]:
        (mine,), (theirs,) = self.mine["choices"], self.theirs["choices"]
        return mine, theirs

    @property
    def messages(self) -> tuple[dict[str, Any], dict[str, Any]]:
        mine, theirs = self.choices
        return mine["message"], theirs["message"]


def ids_and_times(answer: Answer) -> None:
    """The message's own id, and the batch's end: the same however often it is read; litellm
    makes up an id and takes the time of the call."""
    for key in ("id", "created"):
        answer.theirs[key] = answer.mine[key]


def native(answer: Answer) -> None:
    """The provider's stop reason and usage are kept beside the translated ones."""
    del answer.mine["native"]


def litellms_own(answer: Answer) -> None:
    """Fields of litellm's own, and fields that OpenAI may leave out and litellm does not."""
    _, theirs = answer.messages
    for key in ("provider_specific_fields", "thinking_blocks", "function_call"):
        theirs.pop(key, None)
    for each in (answer.theirs, answer.choices[1], theirs):
        for key in [key for key, value in each.items() if value is None]:
            del each[key]
    answer.theirs.pop("system_fingerprint", None)


def nulls(answer: Answer) -> None:
    """OpenAI has content, refusal and logprobs always, null if need be; litellm does not."""
    mine, theirs = answer.messages
    for key in ("content", "refusal"):
        if mine[key] is None:
            theirs.setdefault(key, None)
    answer.choices[1].setdefault("logprobs", None)


def refusals(answer: Answer) -> None:
    """A refusal stands in message.refusal, as with OpenAI; litellm leaves it out."""
    mine, theirs = answer.messages
    if answer.sent["stop_reason"] == "refusal":
        theirs["refusal"] = mine["refusal"]


def empty_texts(answer: Answer) -> None:
    """An empty text is a text; litellm takes it for none."""
    mine, theirs = answer.messages
    if mine["content"] == "" and theirs.get("content") is None:
        theirs["content"] = ""


def no_thoughts(answer: Answer) -> None:
    """Thoughts that cannot be read are left out; litellm gives an empty text."""
    _, theirs = answer.messages
    if theirs.get("reasoning_content") == "":
        del theirs["reasoning_content"]


def arguments(answer: Answer) -> None:
    """Arguments are the provider's bytes, numbers as they were; litellm writes them anew."""
    for message in answer.messages:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
            call.pop("index", None)


def context_full(answer: Answer) -> None:
    """A full context cuts the answer off as max_tokens does: length; litellm says stop."""
    _, theirs = answer.choices
    if answer.sent["stop_reason"] == "model_context_window_exceeded":
        assert theirs["finish_reason"] == "stop"
        theirs["finish_reason"] = "length"


def usage(answer: Answer) -> None:
    """OpenAI's fields only; litellm adds its own, and names cache_write_tokens otherwise."""
    mine, theirs = answer.mine["usage"], answer.theirs["usage"]
    details = theirs["prompt_tokens_details"]
    details["cache_write_tokens"] = details["cache_creation_tokens"]
    for part in ("prompt_tokens_details", "completion_tokens_details"):
        theirs[part] = {key: theirs[part][key] for key in mine[part]}
    answer.theirs["usage"] = {key: theirs[key] for key in mine}


def counted_thoughts(answer: Answer) -> None:
    """reasoning_tokens is the provider's count, or 0; without one litellm estimates it."""
    if "output_tokens_details" not in answer.sent["usage"]:
        answer.theirs["usage"]["completion_tokens_details"]["reasoning_tokens"] = 0


ANSWERS_EXPLAINED: tuple[Callable[[Answer], None], ...] = (
    ids_and_times,
    native,
    litellms_own,
    nulls,
    refusals,
    empty_texts,
    no_thoughts,
    arguments,
    context_full,
    usage,
    counted_thoughts,
)

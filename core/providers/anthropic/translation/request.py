"""Chat completion requests to Messages params.

Sources: anthropic 2.12.0 types/message_create_params.py, openai 3.54.0
types/chat/completion_create_params.py. What has no equivalent is refused with the path of
the field (strict), or dropped and told (lenient). Numbers and schemas are passed on as the
bytes that came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from core.providers.anthropic.translation.circumstances import Circumstances
from core.providers.anthropic.translation.fast_path import check_body, translate_plain
from core.providers.anthropic.translation.messages import Conversation, translate_messages
from core.providers.anthropic.translation.options import OPTIONS, settle_options
from core.providers.anthropic.translation.tools import tools_of_calls
from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.translation.chat_fields import read_chat
from core.providers.translation.report import FILLED_IN, IGNORED, Note, Report, decode

Raw = msgspec.Raw
Fields = dict[str, Raw]


MAX_USER_ID = 256
"""Characters (platform.claude.com, Messages API, metadata.user_id)."""

_text = msgspec.json.Decoder(str)
_stops = msgspec.json.Decoder(str | list[str])
_positive: msgspec.json.Decoder[int] = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=1)])
_encoder = msgspec.json.Encoder()

_PERSONAL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|\+?[\d\s()-]{7,}")
"""An email address or a phone number."""


def translate_request(
    model: Model, body: bytes | Raw, *, lenient: bool = False
) -> tuple[bytes, Sequence[Note]]:
    """Turn the body of a chat completion request into Messages params.

    Gives the params as JSON without a newline, and what does not reach the provider as
    it was given. Raises LineRejected.
    """
    report = Report(lenient)
    plain = translate_plain(model, body, report)
    if plain is not None:
        return _encoder.encode(plain), report.notes
    return _encoder.encode(_translate(model, body, report)), report.notes


def check_translation(model: Model, body: bytes | Raw) -> Sequence[Note]:
    """What the translation of a body would change, lose and refuse.

    All of what gets lost is told; of what no mode sends, the first.
    """
    plain = check_body(model, body)
    if plain is not None:
        return plain
    report = Report(lenient=True)
    try:
        _translate(model, body, report)
    except LineRejected as error:
        report.notes.append(Note(error.field, error.reason, error.message, "refused"))
    return report.notes


def _translate(model: Model, body: bytes | Raw, report: Report) -> dict[str, Any]:
    given = read_chat(
        body,
        report,
        translated=_TRANSLATED,
        harmless=_HARMLESS,
        harmless_values=_HARMLESS_VALUES,
    )
    params: dict[str, Any] = {"model": model.id, "max_tokens": _max_tokens(given, model, report)}
    talk = translate_messages(given["messages"], model, report)
    if talk.system:
        params["system"] = talk.system
    params["messages"] = talk.turns
    if talk.functions or not _ESSENTIAL.issuperset(given):
        _add_options(params, given, model, talk, report)
    return params


def _add_options(
    params: dict[str, Any], given: Fields, model: Model, talk: Conversation, report: Report
) -> None:
    if "stop" in given:
        stops = _stop_sequences(given["stop"], report)
        if stops:
            params["stop_sequences"] = stops
    if "user" in given:
        _add_user(params, given["user"], report)
    about = Circumstances(model, params["max_tokens"], talk.prefilled, talk.answers_tools)
    options = {name: raw for name, raw in given.items() if name in OPTIONS}
    settled = settle_options(about, options)
    report.repeat(settled.notes)
    params.update(settled.params)
    if talk.functions and "tools" not in params:
        params["tools"] = tools_of_calls(talk.functions, report)
        params["tool_choice"] = {"type": "none"}


def _max_tokens(given: Fields, model: Model, report: Report) -> int:
    name = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    path = f"body.{name}"
    if name in given:
        limit = decode(_positive, given[name], path, "a whole number from 1 on")
        if name == "max_completion_tokens" and "max_tokens" in given:
            report.note("body.max_tokens", IGNORED, "max_completion_tokens is used.")
        if model.max_output is None or limit <= model.max_output:
            return limit
        report.lose(
            path, f"{model.id} gives at most {model.max_output} tokens.", "unsupported_value"
        )
        return model.max_output
    if model.max_output is None:
        raise LineRejected(
            "body.max_completion_tokens",
            "missing_field",
            f"{model.id} needs max_completion_tokens: its most is not known here.",
        )
    report.note(
        "body.max_completion_tokens",
        FILLED_IN,
        f"Not given: the most of {model.id} is used, {model.max_output}.",
    )
    return model.max_output


def _stop_sequences(raw: Raw, report: Report) -> list[str]:
    stops = decode(_stops, raw, "body.stop", "a string or a list of strings")
    one = isinstance(stops, str)
    kept = []
    for index, stop in enumerate([stops] if isinstance(stops, str) else stops):
        if stop and not stop.isspace():
            kept.append(stop)
            continue
        report.lose(
            "body.stop" if one else f"body.stop[{index}]",
            "A stop sequence must not be empty or only white space.",
            "unsupported_value",
        )
    return kept


def _add_user(params: dict[str, Any], raw: Raw, report: Report) -> None:
    user = decode(_text, raw, "body.user", "a string")
    if len(user) > MAX_USER_ID:
        report.lose("body.user", f"user goes up to {MAX_USER_ID} characters.", "unsupported_value")
    elif _PERSONAL.fullmatch(user):
        report.lose(
            "body.user",
            "Anthropic takes no email addresses and phone numbers: send a hash.",
            "unsupported_value",
        )
    else:
        params["metadata"] = {"user_id": user}


_TRANSLATED = frozenset(
    {
        "model",
        "messages",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "user",
    }
)
_ESSENTIAL = frozenset({"model", "messages", "max_completion_tokens", "max_tokens"})
"""A request with no other field has no options to add."""

_HARMLESS = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
    }
)
"""Without effect on the answer, or a hint that may be ignored."""

_HARMLESS_VALUES: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "stream": (False,),
    "modalities": (["text"],),
}
"""Values that ask for nothing."""

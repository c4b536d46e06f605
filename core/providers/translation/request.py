"""Chat completion requests to Messages params.

Sources: anthropic 2.12.0 types/message_create_params.py, openai 3.54.0
types/chat/completion_create_params.py. What has no equivalent is refused with the path of
the field (strict), or dropped and told (lenient). Numbers and schemas are passed on as the
bytes that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.translation.messages import translate_messages
from core.providers.translation.report import Note, Report, decode
from core.providers.translation.tools import translate_tool_choice, translate_tools

Raw = msgspec.Raw
Fields = dict[str, Raw]

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""thinking.budget_tokens by reasoning_effort; 1,024 is the least that Anthropic takes."""

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_stops = msgspec.json.Decoder(str | list[str])
_positive = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=1)])
_temperature = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=2)])
_top_p = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=1)])
_effort = msgspec.json.Decoder(Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"])
_encoder = msgspec.json.Encoder()


def translate_request(
    model: Model, body: bytes | Raw, *, lenient: bool = False
) -> tuple[bytes, Sequence[Note]]:
    """Turn the body of a chat completion request into Messages params.

    Gives the params as JSON without a newline, and what was dropped or filled in. Raises
    LineRejected.
    """
    report = Report(lenient)
    return _encoder.encode(_translate(model, body, report)), report.notes


def check_translation(model: Model, body: bytes | Raw) -> Sequence[Note]:
    """Whether translate_request (strict) would take a body. Raises LineRejected."""
    if _is_plain(model, body):
        return ()
    report = Report()
    _translate(model, body, report)
    return report.notes


def _translate(model: Model, body: bytes | Raw, report: Report) -> dict[str, Any]:
    try:
        fields = _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineRejected("body", "invalid_json", f"The body is unreadable: {error}") from None
    # For an optional field null means the same as its absence.
    given = {key: raw for key, raw in fields.items() if raw != NULL}
    for key in given:
        if key not in _TRANSLATED:
            _settle_untranslated(key, given[key], report)
    params: dict[str, Any] = {
        "model": model.id,
        "max_tokens": _max_tokens(given, model, report),
    }
    if "messages" not in given:
        raise LineRejected("body.messages", "missing_field", "messages are needed.")
    system, turns = translate_messages(given["messages"], model, report)
    if system:
        params["system"] = system
    params["messages"] = turns
    if not _ESSENTIAL.issuperset(given):
        _add_options(params, given, model, report)
    return params


def _add_options(params: dict[str, Any], given: Fields, model: Model, report: Report) -> None:
    if "stop" in given:
        params["stop_sequences"] = _stop_sequences(given["stop"])
    if "user" in given:
        params["metadata"] = {"user_id": decode(_text, given["user"], "body.user", "a string")}
    if "tools" in given:
        tools = translate_tools(given["tools"], model, report)
        if tools:
            params["tools"] = tools
    choice = translate_tool_choice(
        given.get("tool_choice"), given.get("parallel_tool_calls"), "tools" in params, model
    )
    if choice is not None:
        params["tool_choice"] = choice
    if "response_format" in given:
        _add_format(params, given["response_format"], model, report)
    if "reasoning_effort" in given:
        _add_effort(params, given, model, report)
    _add_sampling(params, given, model, report)


def _max_tokens(given: Fields, model: Model, report: Report) -> Raw | int:
    path = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    if path in given:
        decode(_positive, given[path], f"body.{path}", "a whole number from 1 on")
        if path == "max_completion_tokens" and "max_tokens" in given:
            report.note("body.max_tokens", "ignored", "max_completion_tokens is used.")
        return given[path]
    if model.max_output is None:
        raise LineRejected(
            "body.max_completion_tokens",
            "missing_field",
            f"{model.id} needs max_completion_tokens: its most is not known here.",
        )
    report.note(
        "body.max_completion_tokens",
        "filled_in",
        f"Not given: the most of {model.id} is used, {model.max_output}.",
    )
    return model.max_output


def _stop_sequences(raw: Raw) -> list[str]:
    stops = decode(_stops, raw, "body.stop", "a string or a list of strings")
    stops = [stops] if isinstance(stops, str) else stops
    for index, stop in enumerate(stops):
        if not stop or stop.isspace():
            raise LineRejected(
                f"body.stop[{index}]",
                "unsupported_value",
                "A stop sequence must not be empty or only white space.",
            )
    return stops


def _add_sampling(params: dict[str, Any], given: Fields, model: Model, report: Report) -> None:
    for name, decoder, expected in (
        ("temperature", _temperature, "a number from 0 to 2"),
        ("top_p", _top_p, "a number from 0 to 1"),
    ):
        raw = given.get(name)
        if raw is None:
            continue
        path = f"body.{name}"
        value = decode(decoder, raw, path, expected)
        if value == 1:
            # Both vendors' default. Anthropic refuses it only beside other settings.
            report.note(path, "ignored", f"{name} 1 is the default.")
        elif value > 1:
            report.lose(path, f"{name} goes up to 1.", "unsupported_value")
        elif not model.sampling:
            report.lose(path, f"{model.id} takes no {name}.")
        elif name == "top_p" and "temperature" in params:
            report.lose(path, f"{model.id} takes temperature or top_p, not both.")
        elif name == "temperature" and params.get("thinking", {}).get("type") == "enabled":
            report.lose(path, "temperature cannot be set together with reasoning_effort.")
        else:
            params[name] = raw


def _add_format(params: dict[str, Any], raw: Raw, model: Model, report: Report) -> None:
    path = "body.response_format"
    given = decode(_fields, raw, path, "an object")
    kind = decode(_text, given.get("type", NULL), f"{path}.type", "a string")
    if kind == "json_schema":
        path += ".json_schema"
        described = decode(_fields, given.get("json_schema", NULL), path, "an object")
        schema = described.get("schema", NULL)
        decode(_fields, schema, f"{path}.schema", "a JSON schema")
        if model.structured:
            chosen = {"type": "json_schema", "schema": schema}
            params.setdefault("output_config", {})["format"] = chosen
        else:
            report.lose(path, f"{model.id} does not enforce schemas.")
    elif kind != "text":
        report.lose(f"{path}.type", f"{kind} has no equivalent: use json_schema.")


def _add_effort(params: dict[str, Any], given: Fields, model: Model, report: Report) -> None:
    path = "body.reasoning_effort"
    effort = decode(_effort, given["reasoning_effort"], path, "none, minimal, low ... max")
    if effort == "none":
        if not model.no_thinking:
            report.lose(path, f"{model.id} always thinks.", "unsupported_value")
        elif model.no_thinking != "omitted":
            params["thinking"] = {"type": model.no_thinking}
    elif model.thinking == "budget":
        _add_budget(params, path, BUDGETS[effort], report)
    else:
        level = "low" if effort == "minimal" else effort
        if level not in model.efforts:
            report.lose(path, f"{model.id} has no effort {level}.", "unsupported_value")
            return
        params["thinking"] = {"type": "adaptive"}
        params.setdefault("output_config", {})["effort"] = level


def _add_budget(params: dict[str, Any], path: str, budget: int, report: Report) -> None:
    limit = params["max_tokens"]
    most = _positive.decode(limit) if isinstance(limit, Raw) else limit
    # The budget has to stay below max_tokens, which covers thinking and answer.
    budget = min(budget, most - 1)
    if budget < 1024:
        report.lose(path, "Thinking needs max_completion_tokens above 1024.", "unsupported_value")
    elif params.get("tool_choice", {}).get("type") in ("any", "tool"):
        report.lose(path, "This model cannot think when tool_choice asks for a tool.")
    else:
        params["thinking"] = {"type": "enabled", "budget_tokens": budget}


NULL = Raw(b"null")

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


def _settle_untranslated(key: str, raw: Raw, report: Report) -> None:
    path = f"body.{key}"
    if key in _HARMLESS:
        report.note(path, "ignored", f"{key} has no equivalent and no effect on the answer.")
        return
    if key in _HARMLESS_VALUES:
        try:
            asks_nothing = msgspec.json.decode(raw) in _HARMLESS_VALUES[key]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            asks_nothing = False
        if asks_nothing:
            report.note(path, "ignored", f"{key} asks for nothing.")
            return
    report.lose(path, f"{key} has no equivalent.")


class _PlainMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, msgspec.Meta(min_length=1)]


class _PlainRequest(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    messages: list[_PlainMessage]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None


_plain = msgspec.json.Decoder(_PlainRequest)


def _is_plain(model: Model, body: bytes | Raw) -> bool:
    """Whether a body is of the common kind that surely translates, without a note.

    A shortcut for the check at upload, several times as fast as the translation; False
    says nothing.
    """
    try:
        request = _plain.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if (request.max_tokens is None) == (request.max_completion_tokens is None):
        return False
    if request.temperature is not None and not model.sampling:
        return False
    talking = False
    for message in request.messages:
        if message.content.isspace():
            return False
        if message.role == "user":
            talking = True
        elif talking != (message.role == "assistant"):
            return False
    return talking and request.messages[-1].role == "user"

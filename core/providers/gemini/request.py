"""Chat completion requests to Gemini's GenerateContentRequest.

Sources: google-genai 3.4 types.py (GenerateContentConfig, ToolConfig), openai 3.54
types/chat/completion_create_params.py. What has no equivalent is refused with the path of
the field (strict), or dropped and told (lenient). Numbers and schemas are passed on as the
bytes that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.gemini.messages import translate_messages
from core.providers.gemini.models import Abilities, abilities
from core.providers.gemini.schemas import described, translate_schema
from core.providers.gemini.tools import translate_tool_choice, translate_tools
from core.providers.translation import thinking_budgets
from core.providers.translation.chat_fields import read_chat
from core.providers.translation.common_request import PlainRequest, is_plain
from core.providers.translation.fields import known_only
from core.providers.translation.options import remembered
from core.providers.translation.report import IGNORED, Note, Report, decode

Fields = dict[str, Raw]

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
"""thinkingBudget by reasoning_effort, as in Google's own OpenAI compatibility."""
LEVELS = {"low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
MAX_STOPS = 5
MAX_CANDIDATES = 8

NULL = Raw(b"null")

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_stops = msgspec.json.Decoder(str | list[str])
_positive = msgspec.json.Decoder(Annotated[int, Meta(ge=1)])
_candidates = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)])
_seed = msgspec.json.Decoder(Annotated[int, Meta(ge=-(2**31), lt=2**31)])
_temperature = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=2)])
_top_p = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=1)])
_penalty = msgspec.json.Decoder(Annotated[float, Meta(ge=-2, le=2)])
_effort = msgspec.json.Decoder(Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"])
_plain = msgspec.json.Decoder(PlainRequest)
_encoder = msgspec.json.Encoder()

_ANY_MODEL = Model(id="")


def translate_request(
    model_id: str, body: bytes | Raw, *, lenient: bool = False
) -> tuple[bytes, Sequence[Note]]:
    """Turn the body of a chat completion request into a GenerateContentRequest.

    `model_id`: Gemini's id of the model, which the batch names. Gives JSON without a
    newline, and what was dropped or filled in. Raises LineRejected.
    """
    plain = _translate_plain(body)
    if plain is not None:
        return _encoder.encode(plain), ()
    report = Report(lenient)
    return _encoder.encode(_translate(model_id, body, report)), report.notes


def check_request(model_id: str, body: bytes | Raw) -> Sequence[Note]:
    """What the translation of a body would change, lose and refuse.

    All of what gets lost is told; of what no mode sends, the first.
    """
    if _translate_plain(body) is not None:
        return ()
    report = Report(lenient=True)
    try:
        _translate(model_id, body, report)
    except LineRejected as error:
        report.notes.append(Note(error.field, error.reason, error.message, "refused"))
    return report.notes


def check_plain(request: PlainRequest) -> Sequence[Note] | None:
    """What the translation of a request would change and lose; None: check_request tells.

    It does not depend on the model.
    """
    if not is_plain(_ANY_MODEL, request):
        return None
    given = request.options()
    if not given:
        return ()
    if not _SETTLED_ALONE.issuperset(given):
        return None
    tools = {name: raw for name, raw in given.items() if name in _ABOUT_TOOLS}
    form = {name: raw for name, raw in given.items() if name == "response_format"}
    notes = _settle_tools(None, tools).notes if tools else ()
    return notes + _settle_format(None, form).notes if form else notes


def _translate_plain(body: bytes | Raw) -> dict[str, Any] | None:
    """The request of a body of the common kind; None of others.

    A short way, several times as fast as the long one, to the same request.
    """
    try:
        request = _plain.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if request.options() or not is_plain(_ANY_MODEL, request):
        return None
    system: list[Any] = []
    contents: list[Any] = []
    for message in request.messages:
        part = {"text": message.content}
        if message.role == "user":
            contents.append({"role": "user", "parts": [part]})
        elif message.role == "assistant":
            contents.append({"role": "model", "parts": [part]})
        else:
            system.append(part)
    made: dict[str, Any] = {"contents": contents}
    if system:
        made["systemInstruction"] = {"parts": system}
    config = {"maxOutputTokens": request.max_tokens or request.max_completion_tokens}
    made["generationConfig"] = config
    if request.temperature is not msgspec.UNSET:
        made["generationConfig"] = {**config, "temperature": request.temperature}
    return made


def _translate(model_id: str, body: bytes | Raw, report: Report) -> dict[str, Any]:
    given = read_chat(
        body,
        report,
        translated=_TRANSLATED,
        harmless=_HARMLESS,
        harmless_values=_HARMLESS_VALUES,
    )
    able = abilities(model_id)
    system, contents = translate_messages(given["messages"], able, report)
    request: dict[str, Any] = {"contents": contents}
    if system:
        request["systemInstruction"] = {"parts": system}
    if not _ESSENTIAL.issuperset(given):
        _add_tools(request, given, report)
    config = _config(given, able, report)
    if config:
        request["generationConfig"] = config
    return request


def _translate_tools(_: None, given: Fields, report: Report) -> dict[str, Any]:
    strict = False
    params: dict[str, Any] = {}
    functions: list[dict[str, Any]] = []
    if "tools" in given:
        functions, strict = translate_tools(given["tools"], report)
        if functions:
            params["tools"] = [{"functionDeclarations": functions}]
    names = [function["name"] for function in functions]
    choice = translate_tool_choice(given.get("tool_choice"), tools=names, strict=strict)
    if choice is not None:
        params["toolConfig"] = {"functionCallingConfig": choice}
    if (
        "parallel_tool_calls" in given
        and "tools" in params
        and given["parallel_tool_calls"] != TRUE
    ):
        report.lose("body.parallel_tool_calls", "Gemini cannot be kept to one call at a time.")
    return params


def _translate_format(_: None, given: Fields, report: Report) -> dict[str, Any]:
    params: dict[str, Any] = {}
    _add_format(params, given["response_format"], report)
    return params


_settle_tools = remembered(_translate_tools)
_settle_format = remembered(_translate_format)


def _add_tools(request: dict[str, Any], given: Fields, report: Report) -> None:
    tools = {name: raw for name, raw in given.items() if name in _ABOUT_TOOLS}
    if tools:
        settled = _settle_tools(None, tools)
        report.repeat(settled.notes)
        request.update(settled.params)


def _config(given: Fields, able: Abilities, report: Report) -> dict[str, Any]:
    config: dict[str, Any] = {}
    limit = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    if limit in given:
        decode(_positive, given[limit], f"body.{limit}", "a whole number from 1 on")
        config["maxOutputTokens"] = given[limit]
        if limit == "max_completion_tokens" and "max_tokens" in given:
            report.note("body.max_tokens", IGNORED, "max_completion_tokens is used.")
    for name, target, decoder, expected in _NUMBERS:
        if name in given:
            decode(decoder, given[name], f"body.{name}", expected)
            config[target] = given[name]
    if "stop" in given:
        config["stopSequences"] = _stop_sequences(given["stop"])
    if "response_format" in given:
        settled = _settle_format(None, {"response_format": given["response_format"]})
        report.repeat(settled.notes)
        config.update(settled.params)
    if "reasoning_effort" in given:
        _add_effort(config, given["reasoning_effort"], able, report)
    return config


def _stop_sequences(raw: Raw) -> list[str]:
    stops = decode(_stops, raw, "body.stop", "a string or a list of strings")
    stops = [stops] if isinstance(stops, str) else stops
    if len(stops) > MAX_STOPS or not all(stops):
        raise LineRejected(
            "body.stop",
            "unsupported_value",
            f"At most {MAX_STOPS} stop sequences, none of them empty.",
        )
    return stops


def _add_format(config: dict[str, Any], raw: Raw, report: Report) -> None:
    path = "body.response_format"
    given = decode(_fields, raw, path, "an object")
    kind = decode(_text, given.get("type", NULL), f"{path}.type", "a string")
    known_only(path, given, {"type", "json_schema"} if kind == "json_schema" else {"type"}, report)
    if kind == "json_object":
        config["responseMimeType"] = "application/json"
    elif kind == "json_schema":
        path += ".json_schema"
        format_ = decode(_fields, given.get("json_schema", NULL), path, "an object")
        known_only(path, format_, {"name", "description", "schema", "strict"}, report)
        schema = format_.get("schema", NULL)
        decode(_fields, schema, f"{path}.schema", "a JSON schema")
        schema = translate_schema(schema, f"{path}.schema", report)
        if format_.get("description", NULL) != NULL:
            schema = described(schema, format_["description"], f"{path}.description", report)
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = schema
    elif kind != "text":
        report.lose(f"{path}.type", f"{kind} has no equivalent: use json_schema.")


def _add_effort(config: dict[str, Any], raw: Raw, able: Abilities, report: Report) -> None:
    path = "body.reasoning_effort"
    effort = decode(_effort, raw, path, "none, minimal, low, medium, high ... max")
    if effort == "none":
        if not able.can_stop_thinking:
            report.lose(path, "The model always thinks.", "unsupported_value")
        elif able.thinking:
            config["thinkingConfig"] = {"thinkingBudget": 0}
    elif not able.thinking:
        report.lose(path, "The model does not think.")
    elif effort not in BUDGETS:
        report.lose(path, f"Gemini has no effort {effort}: high is the most.", "unsupported_value")
    elif able.thinking == "budget":
        _add_budget(config, path, BUDGETS[effort], able, report)
    else:
        config["thinkingConfig"] = {"thinkingLevel": LEVELS.get(effort, able.least_level)}


def _add_budget(
    config: dict[str, Any], path: str, budget: int, able: Abilities, report: Report
) -> None:
    if "maxOutputTokens" in config:
        budget = thinking_budgets.within(budget, _positive.decode(config["maxOutputTokens"]))
    if budget < able.least_budget:
        limit = thinking_budgets.limit_for(able.least_budget)
        report.lose(path, thinking_budgets.refusal(limit), "unsupported_value")
    else:
        config["thinkingConfig"] = {"thinkingBudget": budget}


TRUE = Raw(b"true")

_NUMBERS: tuple[tuple[str, str, msgspec.json.Decoder[Any], str], ...] = (
    ("temperature", "temperature", _temperature, "a number from 0 to 2"),
    ("top_p", "topP", _top_p, "a number from 0 to 1"),
    ("seed", "seed", _seed, "a whole number of 32 bits"),
    ("n", "candidateCount", _candidates, f"a whole number from 1 to {MAX_CANDIDATES}"),
    ("frequency_penalty", "frequencyPenalty", _penalty, "a number from -2 to 2"),
    ("presence_penalty", "presencePenalty", _penalty, "a number from -2 to 2"),
)

_ABOUT_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_SETTLED_ALONE = _ABOUT_TOOLS | {"response_format"}
"""Options whose translation does not depend on the rest of the request."""
_ESSENTIAL = frozenset({"model", "messages", "max_completion_tokens", "max_tokens"})
"""A request with no other field has no tools to add."""

_TRANSLATED = _ESSENTIAL | {
    "parallel_tool_calls",
    "reasoning_effort",
    "response_format",
    "stop",
    "tool_choice",
    "tools",
    *(name for name, *_ in _NUMBERS),
}

_HARMLESS = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Without effect on the answer, or a hint that may be ignored."""

_HARMLESS_VALUES: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "stream": (False,),
    "modalities": (["text"],),
}
"""Values that ask for nothing."""

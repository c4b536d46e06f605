"""How the model is to answer: the form, the effort, the randomness."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from core.providers.anthropic.translation.circumstances import Circumstances
from core.providers.anthropic.translation.schemas import translate_schema
from core.providers.catalogue import Model
from core.providers.translation import thinking_budgets
from core.providers.translation.fields import known_only
from core.providers.translation.report import Report, decode

Raw = msgspec.Raw
Fields = dict[str, Raw]

NULL = Raw(b"null")

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""thinking.budget_tokens by reasoning_effort; 1,024 is the least that Anthropic takes."""

_LEAST_BUDGET = 1024
_LEAST_LIMIT = thinking_budgets.limit_for(_LEAST_BUDGET)
_LEAST_TOP_P = 0.95
"""Of a request with thinking."""

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_temperature = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=2)])
_top_p = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=1)])
_effort = msgspec.json.Decoder(Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"])


def add_format(
    params: dict[str, Any], raw: Raw, model: Model, talk: Circumstances, report: Report
) -> None:
    """response_format. Raises LineRejected."""
    path = "body.response_format"
    given = decode(_fields, raw, path, "an object")
    kind = decode(_text, given.get("type", NULL), f"{path}.type", "a string")
    known_only(path, given, {"type", "json_schema"} if kind == "json_schema" else {"type"}, report)
    if kind == "text":
        return
    if kind != "json_schema":
        report.lose(f"{path}.type", f"{kind} has no equivalent: use json_schema.")
        return
    path += ".json_schema"
    described = decode(_fields, given.get("json_schema", NULL), path, "an object")
    known_only(path, described, {"name", "description", "schema", "strict"}, report)
    schema = described.get("schema", NULL)
    decode(_fields, schema, f"{path}.schema", "a JSON schema")
    if not model.structured:
        report.lose(path, f"{model.id} does not enforce schemas.")
        return
    if talk.prefilled:
        report.lose(path, "No schema is enforced on the rest of an assistant's message.")
        return
    schema = translate_schema(schema, f"{path}.schema", report)
    if described.get("description", NULL) != NULL:
        schema = _described(schema, described["description"], f"{path}.description", report)
    chosen = {"type": "json_schema", "schema": schema}
    params.setdefault("output_config", {})["format"] = chosen


def _described(schema: Raw, description: Raw, path: str, report: Report) -> Raw:
    """The schema with what the format is for, which OpenAI tells the model as well."""
    decode(_text, description, path, "a string")
    fields = _fields.decode(schema)
    if "description" in fields:
        report.lose(path, "The schema has a description of its own.")
        return schema
    return Raw(msgspec.json.encode(fields | {"description": description}))


def add_effort(
    params: dict[str, Any], raw: Raw, model: Model, talk: Circumstances, report: Report
) -> None:
    """reasoning_effort; after max_tokens and tool_choice. Raises LineRejected."""
    path = "body.reasoning_effort"
    effort = decode(_effort, raw, path, "none, minimal, low, medium, high, xhigh or max")
    if effort == "none":
        if not model.no_thinking:
            report.lose(path, f"{model.id} always thinks.", "unsupported_value")
        elif model.no_thinking != "omitted":
            params["thinking"] = {"type": model.no_thinking}
        return
    forced = params.get("tool_choice", {}).get("type") in ("any", "tool")
    if forced and not model.forced_while_thinking:
        report.lose(path, f"{model.id} cannot think when tool_choice asks for a tool.")
    elif model.thinking == "budget":
        _add_budget(params, path, BUDGETS[effort], talk, report)
    else:
        level = "low" if effort == "minimal" else effort
        if level not in model.efforts:
            report.lose(path, f"{model.id} has no effort {level}.", "unsupported_value")
            return
        params["thinking"] = {"type": "adaptive"}
        params.setdefault("output_config", {})["effort"] = level


def _add_budget(
    params: dict[str, Any], path: str, budget: int, talk: Circumstances, report: Report
) -> None:
    budget = thinking_budgets.within(budget, params["max_tokens"])
    if budget < _LEAST_BUDGET:
        report.lose(path, thinking_budgets.refusal(_LEAST_LIMIT), "unsupported_value")
    elif talk.prefilled:
        report.lose(path, "The model cannot think before the rest of an assistant's message.")
    elif talk.answers_tools:
        # It wants to see the thoughts that led to the call, which OpenAI's form has not.
        report.lose(path, "The model cannot think right after the results of tools.")
    else:
        params["thinking"] = {"type": "enabled", "budget_tokens": budget}


def add_sampling(params: dict[str, Any], given: Fields, model: Model, report: Report) -> None:
    """temperature and top_p; after reasoning_effort. Raises LineRejected."""
    thinks = params.get("thinking", {}).get("type") in ("enabled", "adaptive")
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
            # Both vendors' default, and refused beside some other settings.
            continue
        if value > 1:
            report.lose(path, f"{name} goes up to 1.", "unsupported_value")
        elif not model.sampling:
            report.lose(path, f"{model.id} takes no {name}.")
        elif name == "top_p" and "temperature" in params:
            report.lose(path, f"{model.id} takes temperature or top_p, not both.")
        elif thinks and (name == "temperature" or value < _LEAST_TOP_P):
            report.lose(path, f"This {name} cannot be set together with reasoning_effort.")
        else:
            params[name] = raw

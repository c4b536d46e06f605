"""Tools and the choice among them.

Sources: anthropic 2.12.0 types/tool_param.py and tool_choice_*_param.py; what the API is
known to refuse: top-level anyOf, oneOf and allOf of an input schema, names outside
[a-zA-Z0-9_-]{1,128} or given twice, calls in the conversation when there are no tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from core.providers.anthropic.translation.schemas import translate_schema
from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.translation.chat_fields import function_tools
from core.providers.translation.fields import known_only
from core.providers.translation.report import CHANGED, FILLED_IN, Report, decode

Raw = msgspec.Raw
Tool = dict[str, Any]

FALSE = Raw(b"false")
EMPTY = Raw(b"{}")
OBJECT = Raw(b'"object"')

_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool)
_choice = msgspec.json.Decoder(str | dict[str, Any])

EMPTY_SCHEMA = {"type": "object", "properties": {}}

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_COMBINATORS = frozenset({"anyOf", "oneOf", "allOf"})
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def translate_tools(raw: Raw, model: Model, report: Report) -> list[Tool]:
    """Function tools in Anthropic's form. Raises LineRejected."""
    tools: list[Tool] = []
    for path, function in function_tools(raw, report):
        translated = _translate_function(path, function, model, report)
        tools.append(translated)
    return tools


def _translate_function(
    path: str, function: dict[str, Raw], model: Model, report: Report
) -> dict[str, Any]:
    name = decode(_text, function["name"], f"{path}.name", "a string")
    check_name(f"{path}.name", name)
    tool: Tool = {"name": name}
    if "description" in function:
        where = f"{path}.description"
        tool["description"] = decode(_text, function["description"], where, "a string")
    strict = decode(_flag, function.get("strict", FALSE), f"{path}.strict", "true or false")
    if strict and not model.structured:
        report.lose(f"{path}.strict", f"{model.id} does not enforce schemas.")
        strict = False
    schema = _input_schema(f"{path}.parameters", function.get("parameters", EMPTY), report)
    if strict:
        tool["strict"] = True
        if isinstance(schema, Raw):
            schema = translate_schema(schema, f"{path}.parameters", report)
        else:
            schema = schema | {"additionalProperties": False}
    tool["input_schema"] = schema
    return tool


def check_name(path: str, name: str) -> None:
    """Raise LineRejected for a name that no function can have."""
    if not _is_name(name):
        raise LineRejected(
            path,
            "unsupported_value",
            f"{path} has to be 1 to 128 letters, digits, underscores and hyphens.",
        )


# The lines of a file mostly name the same few.
@lru_cache(maxsize=4096)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _input_schema(path: str, parameters: Raw, report: Report) -> Raw | dict[str, Any]:
    given = decode(_fields, parameters, path, "an object")
    if not given:
        return EMPTY_SCHEMA
    if given.get("type") == OBJECT and _COMBINATORS.isdisjoint(given):
        return parameters
    for key in sorted(_COMBINATORS & given.keys()):
        report.lose(f"{path}.{key}", f"{key} cannot stand at the top of a tool's parameters.")
        del given[key]
    if "type" not in given:
        report.note(f"{path}.type", FILLED_IN, "Not given: object.")
    elif given["type"] != OBJECT:
        raise LineRejected(
            f"{path}.type", "unsupported_value", "The parameters of a tool have to be an object."
        )
    return Raw(msgspec.json.encode({"type": OBJECT} | given))


def translate_tool_choice(
    choice: Raw | None, parallel: Raw | None, tools: Iterable[Tool], model: Model, report: Report
) -> dict[str, Any] | None:
    """tool_choice and parallel_tool_calls in Anthropic's form; None: nothing to say.

    `tools`: in Anthropic's form. Raises LineRejected.
    """
    path = "body.tool_choice"
    names = {tool["name"] for tool in tools}
    chosen: dict[str, Any] | None = None
    if choice is not None:
        given = decode(_choice, choice, path, "a string or an object")
        chosen = _read_choice(path, given, report)
    if chosen is not None and chosen["type"] in ("any", "tool"):
        if not names:
            raise LineRejected(path, "missing_tools", "tool_choice asks for a tool: none is given.")
        if chosen["type"] == "tool" and chosen["name"] not in names:
            raise LineRejected(
                f"{path}.function.name", "unsupported_value", "There is no tool of this name."
            )
        if not model.forced_tools:
            raise LineRejected(
                path, "unsupported_parameter", f"{model.id} cannot be made to use a tool."
            )
    single = parallel is not None and not decode(
        _flag, parallel, "body.parallel_tool_calls", "true or false"
    )
    if not names:
        return None
    if single:
        chosen = chosen or {"type": "auto"}
        if chosen["type"] != "none":
            chosen["disable_parallel_tool_use"] = True
    return chosen


def _read_choice(path: str, choice: str | dict[str, Any], report: Report) -> dict[str, Any]:
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name:
            known_only(path, choice, {"type", "function"}, report)
            return {"type": "tool", "name": name}
    raise LineRejected(
        path,
        "unsupported_parameter",
        f"{path} has to be auto, none, required or a named function.",
    )


def tools_of_calls(functions: Mapping[str, str], report: Report) -> list[Tool]:
    """Tools for a conversation that calls some while the request offers none.

    OpenAI takes that, Anthropic does not. Sent with tool_choice none. `functions`: names
    and the paths of their calls. Raises LineRejected.
    """
    for name, path in functions.items():
        check_name(path, name)
    report.note(
        "body.tools", CHANGED, "The functions called before are declared, and may not be called."
    )
    return [{"name": name, "input_schema": EMPTY_SCHEMA} for name in functions]

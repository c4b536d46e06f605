"""Tools and the choice among them."""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.translation.report import Report, decode

Raw = msgspec.Raw

NULL = Raw(b"null")
FALSE = Raw(b"false")
EMPTY = Raw(b"{}")
FUNCTION = Raw(b'"function"')

_tools: msgspec.json.Decoder[list[dict[str, Raw]]] = msgspec.json.Decoder(list[dict[str, Raw]])
_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool)
_choice = msgspec.json.Decoder(str | dict[str, Any])

EMPTY_SCHEMA = {"type": "object", "properties": {}}

_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def translate_tools(raw: Raw, model: Model, report: Report) -> list[dict[str, Any]]:
    """Function tools in Anthropic's form. Raises LineRejected."""
    tools = []
    given = decode(_tools, raw, "body.tools", "a list of tool objects")
    for index, tool in enumerate(given):
        path = f"body.tools[{index}]"
        if tool.get("type") != FUNCTION or "function" not in tool:
            raise LineRejected(
                f"{path}.type", "unsupported_tool", "Only function tools can be translated."
            )
        _only(path, tool, {"type", "function"}, report)
        path += ".function"
        function = decode(_fields, tool["function"], path, "an object")
        function = {key: value for key, value in function.items() if value != NULL}
        _only(path, function, {"name", "description", "parameters", "strict"}, report)
        tools.append(_translate_function(path, function, model, report))
    return tools


def _translate_function(
    path: str, function: dict[str, Raw], model: Model, report: Report
) -> dict[str, Any]:
    if "name" not in function:
        raise LineRejected(f"{path}.name", "missing_field", "A function needs a name.")
    tool: dict[str, Any] = {"name": decode(_text, function["name"], f"{path}.name", "a string")}
    if "description" in function:
        where = f"{path}.description"
        tool["description"] = decode(_text, function["description"], where, "a string")
    parameters = function.get("parameters", EMPTY)
    given = decode(_fields, parameters, f"{path}.parameters", "an object")
    tool["input_schema"] = parameters if given else EMPTY_SCHEMA
    if decode(_flag, function.get("strict", FALSE), f"{path}.strict", "true or false"):
        if model.structured:
            tool["strict"] = True
        else:
            report.lose(f"{path}.strict", f"{model.id} does not enforce schemas.")
    return tool


def translate_tool_choice(
    choice: Raw | None, parallel: Raw | None, tools: bool, model: Model
) -> dict[str, Any] | None:
    """tool_choice and parallel_tool_calls in Anthropic's form; None: nothing to say.

    `tools`: whether the request has tools. Raises LineRejected.
    """
    path = "body.tool_choice"
    chosen: dict[str, Any] | None = None
    if choice is not None:
        chosen = _read_choice(path, decode(_choice, choice, path, "a string or an object"))
    if chosen is not None and chosen["type"] in ("any", "tool"):
        if not tools:
            raise LineRejected(path, "missing_tools", "tool_choice asks for a tool: none is given.")
        if not model.forced_tools:
            raise LineRejected(
                path, "unsupported_parameter", f"{model.id} cannot be made to use a tool."
            )
    if not tools:
        return None
    if parallel is not None and not decode(
        _flag, parallel, "body.parallel_tool_calls", "true or false"
    ):
        chosen = chosen or {"type": "auto"}
        if chosen["type"] != "none":
            chosen["disable_parallel_tool_use"] = True
    return chosen


def _read_choice(path: str, choice: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name:
            return {"type": "tool", "name": name}
    raise LineRejected(
        path,
        "unsupported_parameter",
        f"{path} has to be auto, none, required or a named function.",
    )


def _only(path: str, given: dict[str, Raw], known: set[str], report: Report) -> None:
    for key in given:
        if key not in known and given[key] != NULL:
            report.lose(f"{path}.{key}", f"{path}.{key} has no equivalent.")

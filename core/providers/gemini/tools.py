"""Tools and the choice among them, in Gemini's form."""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.contract import LineRejected
from core.providers.gemini.schemas import translate_schema
from core.providers.translation.report import Report, decode

Raw = msgspec.Raw

NULL = Raw(b"null")
FALSE = Raw(b"false")
FUNCTION = Raw(b'"function"')

_tools: msgspec.json.Decoder[list[dict[str, Raw]]] = msgspec.json.Decoder(list[dict[str, Raw]])
_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool)
_choice = msgspec.json.Decoder(str | dict[str, Any])

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def translate_tools(raw: Raw, report: Report) -> tuple[list[dict[str, Any]], bool]:
    """Function declarations, and whether one of them is strict. Raises LineRejected."""
    functions: list[dict[str, Any]] = []
    strict = False
    given = decode(_tools, raw, "body.tools", "a list of tool objects")
    for index, tool in enumerate(given):
        path = f"body.tools[{index}]"
        if tool.get("type") != FUNCTION or "function" not in tool:
            raise LineRejected(
                f"{path}.type", "unsupported_tool", "Only function tools can be translated."
            )
        only(path, tool, {"type", "function"}, report)
        path += ".function"
        function = decode(_fields, tool["function"], path, "an object")
        function = {key: value for key, value in function.items() if value != NULL}
        only(path, function, {"name", "description", "parameters", "strict"}, report)
        held = decode(_flag, function.get("strict", FALSE), f"{path}.strict", "true or false")
        functions.append(_declaration(path, function, held, report))
        strict |= held
    return functions, strict


def _declaration(
    path: str, function: dict[str, Raw], strict: bool, report: Report
) -> dict[str, Any]:
    if "name" not in function:
        raise LineRejected(f"{path}.name", "missing_field", "A function needs a name.")
    made: dict[str, Any] = {"name": decode(_text, function["name"], f"{path}.name", "a string")}
    if "description" in function:
        where = f"{path}.description"
        made["description"] = decode(_text, function["description"], where, "a string")
    if "parameters" in function:
        parameters = function["parameters"]
        if decode(_fields, parameters, f"{path}.parameters", "an object"):
            if strict:
                parameters = translate_schema(parameters, f"{path}.parameters", report)
            made["parametersJsonSchema"] = parameters
    return made


def translate_tool_choice(
    choice: Raw | None, *, tools: bool, strict: bool
) -> dict[str, Any] | None:
    """tool_choice as a functionCallingConfig; None: nothing to say.

    `tools`: whether the request has tools; `strict`: whether the arguments of calls have
    to fit their schema. Raises LineRejected.
    """
    path = "body.tool_choice"
    chosen: dict[str, Any] = {"mode": "AUTO"}
    if choice is not None:
        chosen = _read_choice(path, decode(_choice, choice, path, "a string or an object"))
        if chosen["mode"] == "ANY" and not tools:
            raise LineRejected(path, "missing_tools", "tool_choice asks for a tool: none is given.")
    if not tools:
        return None
    if strict and chosen["mode"] == "AUTO":
        # The model decides whether to call; a call is held to its schema, as with ANY.
        return {"mode": "VALIDATED"}
    return chosen if choice is not None else None


def _read_choice(path: str, choice: str | dict[str, Any]) -> dict[str, Any]:
    match choice:
        case str() if choice in _MODES:
            return {"mode": _MODES[choice]}
        case {"type": "function", "function": {"name": str(name)}} if name:
            return {"mode": "ANY", "allowedFunctionNames": [name]}
    raise LineRejected(
        path,
        "unsupported_parameter",
        f"{path} has to be auto, none, required or a named function.",
    )


def only(path: str, given: dict[str, Raw], known: set[str], report: Report) -> None:
    """Lose what is not known. Raises LineRejected."""
    for key in given:
        if key not in known and given[key] != NULL:
            report.lose(f"{path}.{key}")

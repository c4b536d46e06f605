"""Tools and the choice among them, in Gemini's form.

Sources: google-genai 3.4 types.py, FunctionDeclaration.name (a letter or an underscore, then
letters, digits, underscores, dots, colons and dashes, 128 at most) and FunctionCallingConfig
(allowed names are those of declarations). What the API is known to answer with 400: "Invalid
function name", "Duplicate function declaration found".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import msgspec

from core.providers.contract import LineRejected
from core.providers.gemini.schemas import translate_loose_schema, translate_schema
from core.providers.translation.chat_fields import function_tools
from core.providers.translation.report import Report, decode

Raw = msgspec.Raw

FALSE = Raw(b"false")

_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool)
_choice = msgspec.json.Decoder(str | dict[str, Any])

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def translate_tools(raw: Raw, report: Report) -> tuple[list[dict[str, Any]], bool]:
    """Function declarations, and whether one of them is strict. Raises LineRejected."""
    functions: list[dict[str, Any]] = []
    strict = False
    for path, function in function_tools(raw, report):
        held = decode(_flag, function.get("strict", FALSE), f"{path}.strict", "true or false")
        declared = _declaration(path, function, held, report)
        functions.append(declared)
        strict |= held
    return functions, strict


def _declaration(
    path: str, function: dict[str, Raw], strict: bool, report: Report
) -> dict[str, Any]:
    made: dict[str, Any] = {"name": decode(_text, function["name"], f"{path}.name", "a string")}
    check_name(f"{path}.name", made["name"])
    if "description" in function:
        where = f"{path}.description"
        made["description"] = decode(_text, function["description"], where, "a string")
    if "parameters" in function:
        parameters = function["parameters"]
        if decode(_fields, parameters, f"{path}.parameters", "an object"):
            translate = translate_schema if strict else translate_loose_schema
            parameters = translate(parameters, f"{path}.parameters", report)
            made["parametersJsonSchema"] = parameters
    return made


def check_name(path: str, name: str) -> None:
    """Raise LineRejected for a name that no function can have."""
    if not _is_name(name):
        raise LineRejected(
            path,
            "unsupported_value",
            f"{path} has to be a letter or an underscore, then letters, digits, underscores, "
            "dots, colons and dashes, 128 in all.",
        )


# The lines of a file mostly name the same few.
@lru_cache(maxsize=4096)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def translate_tool_choice(
    choice: Raw | None, *, tools: Collection[str], strict: bool
) -> dict[str, Any] | None:
    """tool_choice as a functionCallingConfig; None: nothing to say.

    `tools`: the names of the request's tools; `strict`: whether the arguments of calls have
    to fit their schema. Raises LineRejected.
    """
    path = "body.tool_choice"
    chosen: dict[str, Any] = {"mode": "AUTO"}
    if choice is not None:
        chosen = _read_choice(path, decode(_choice, choice, path, "a string or an object"))
        if chosen["mode"] == "ANY" and not tools:
            raise LineRejected(path, "missing_tools", "tool_choice asks for a tool: none is given.")
        if not set(chosen.get("allowedFunctionNames", ())).issubset(tools):
            raise LineRejected(
                f"{path}.function.name", "unsupported_value", "There is no tool of this name."
            )
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

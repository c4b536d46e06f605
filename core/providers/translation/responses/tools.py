"""The tools of a Responses request, and the choice among them.

Sources: openai 3.54 types/responses/function_tool_param.py and tool_choice_*_param.py.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.translation.report import FILLED_IN, Report, decode
from core.providers.translation.responses.options import present

FUNCTION = Raw(b'"function"')
FALSE = Raw(b"false")
DIRECT = ["direct"]

_tools: msgspec.json.Decoder[list[dict[str, Raw]]] = msgspec.json.Decoder(list[dict[str, Raw]])
_choice = msgspec.json.Decoder(str | dict[str, Any])
_callers: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[str])

_PASSED = ("name", "description", "parameters", "strict")
_KNOWN = frozenset({"type", *_PASSED, "allowed_callers", "async", "defer_loading"})


def function_tools(raw: Raw, report: Report) -> list[dict[str, Any]]:
    """Tools in the form of chat completions. Raises LineRejected."""
    tools = []
    listed = decode(_tools, raw, "body.tools", "a list of tool objects")
    for index, given in enumerate(listed):
        path = f"body.tools[{index}]"
        if given.get("type") != FUNCTION:
            raise LineRejected(
                f"{path}.type",
                "unsupported_tool",
                "Only function tools can be translated: built-in and custom tools are OpenAI's.",
            )
        tools.append({"type": "function", "function": _function(path, present(given), report)})
    return tools


def _function(path: str, tool: dict[str, Raw], report: Report) -> dict[str, Raw]:
    for key in tool:
        if key not in _KNOWN:
            report.lose(f"{path}.{key}")
    for key in ("async", "defer_loading"):
        if tool.get(key, FALSE) != FALSE:
            report.lose(f"{path}.{key}")
    if "allowed_callers" in tool:
        where = f"{path}.allowed_callers"
        if decode(_callers, tool["allowed_callers"], where, "a list of strings") != DIRECT:
            report.lose(where, "Only the model itself calls functions.")
    if "strict" not in tool:
        report.note(
            f"{path}.strict", FILLED_IN, "Not given: not strict, where OpenAI tries to be strict."
        )
    return {key: tool[key] for key in _PASSED if key in tool}


def tool_choice(raw: Raw) -> str | dict[str, Any]:
    """tool_choice in the form of chat completions. Raises LineRejected."""
    path = "body.tool_choice"
    match decode(_choice, raw, path, "a string or an object"):
        case "auto" | "none" | "required" as choice:
            return str(choice)
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": [*tools]}:
            allowed = [_allowed(f"{path}.tools[{i}]", tool) for i, tool in enumerate(tools)]
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
    raise LineRejected(
        path,
        "unsupported_parameter",
        f"{path} has to be auto, none, required, a named function or allowed_tools.",
    )


def _allowed(path: str, tool: Any) -> dict[str, Any]:
    match tool:
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
    raise LineRejected(path, "unsupported_tool", f"{path} has to be a function with its name.")

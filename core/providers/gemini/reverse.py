"""GenerateContentRequest to chat completion requests, where nothing is lost.

The way back of `request.translate_request`: what comes out translates to the same request
again, but for what has two ways of saying it. Names in snake_case are taken as well, as the API
does. Sources: google-genai 3.4 types.py (GenerateContentConfig, ToolConfig,
FunctionDeclaration), openai 3.54 types/chat/completion_create_params.py.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.gemini.reverse_messages import Fields, chat_messages, fields, only
from core.providers.gemini.reverse_schemas import json_schema
from core.providers.gemini.schemas import translate_schema
from core.providers.translation.report import Report, decode

FORMAT_NAME = "response"
"""OpenAI wants a name for a schema; Gemini has none."""

NULL = Raw(b"null")
EMPTY = Raw(b"{}")

_text = msgspec.json.Decoder(str)
_texts = msgspec.json.Decoder(list[str])
_number = msgspec.json.Decoder(int)
_list: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])

_NUMBERS = {
    "maxOutputTokens": "max_completion_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "seed": "seed",
    "candidateCount": "n",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}
_LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_MODES = {"AUTO": "auto", "NONE": "none", "ANY": "required", "VALIDATED": "auto"}
_CONFIGURED = frozenset(
    {
        *_NUMBERS,
        "responseJsonSchema",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "stopSequences",
        "thinkingConfig",
    }
)


def chat_request(request: bytes | Raw, report: Report) -> dict[str, Any]:
    """Turn a GenerateContentRequest into the body of a chat completion request, to be encoded.

    The body has a model where the request has one. What has no equivalent is lost, as the
    report takes it. Raises LineRejected.
    """
    given = fields(Raw(request), "request")
    known = {"model", "contents", "systemInstruction", "generationConfig", "tools", "toolConfig"}
    only("request", given, known, report)
    body: dict[str, Any] = {}
    if "model" in given:
        model = decode(_text, given["model"], "request.model", "a string")
        body["model"] = model.removeprefix("models/")
    if "contents" not in given:
        raise LineRejected("request.contents", "missing_field", "contents are needed.")
    body["messages"] = chat_messages(given["contents"], given.get("systemInstruction"), report)
    config = fields(given.get("generationConfig", EMPTY), "request.generationConfig")
    _add_config(body, config, report)
    chosen = fields(given.get("toolConfig", EMPTY), "request.toolConfig")
    only("request.toolConfig", chosen, {"functionCallingConfig"}, report)
    path = "request.toolConfig.functionCallingConfig"
    calling = fields(chosen.get("functionCallingConfig", EMPTY), path)
    only(path, calling, {"mode", "allowedFunctionNames"}, report)
    mode = decode(_text, calling.get("mode", Raw(b'""')), f"{path}.mode", "a string")
    if "tools" in given:
        body["tools"] = _functions(given["tools"], mode == "VALIDATED", report)
    if mode:
        body["tool_choice"] = _choice(path, mode, calling, report)
    return body


def _add_config(body: dict[str, Any], config: Fields, report: Report) -> None:
    path = "request.generationConfig"
    only(path, config, _CONFIGURED, report)
    for name, target in _NUMBERS.items():
        if name in config:
            body[target] = config[name]
    if "stopSequences" in config:
        stops = decode(_texts, config["stopSequences"], f"{path}.stopSequences", "a list of texts")
        if len(stops) > 4:
            where = f"{path}.stopSequences"
            raise LineRejected(where, "unsupported_value", "OpenAI takes at most 4.")
        body["stop"] = stops
    if "responseModalities" in config:
        where = f"{path}.responseModalities"
        if decode(_texts, config["responseModalities"], where, "a list of texts") != ["TEXT"]:
            report.lose(where, "Only texts are answered in OpenAI's form.")
    if "thinkingConfig" in config:
        _add_effort(body, fields(config["thinkingConfig"], f"{path}.thinkingConfig"), report)
    kind = decode(
        _text, config.get("responseMimeType", Raw(b'"text/plain"')), f"{path}.responseMimeType", ""
    )
    if kind not in ("text/plain", "application/json"):
        report.lose(f"{path}.responseMimeType", f"{kind}: no equivalent.")
    if kind == "application/json":
        body["response_format"] = _format(path, config, report)


def _format(path: str, config: Fields, report: Report) -> dict[str, Any]:
    schema: Raw | dict[str, Any]
    if "responseJsonSchema" in config:
        schema = config["responseJsonSchema"]
    elif "responseSchema" in config:
        schema = json_schema(config["responseSchema"], f"{path}.responseSchema", report)
    else:
        return {"type": "json_object"}
    made = {"name": FORMAT_NAME, "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": made}


def _add_effort(body: dict[str, Any], thinking: Fields, report: Report) -> None:
    path = "request.generationConfig.thinkingConfig"
    only(path, thinking, {"thinkingLevel", "thinkingBudget"}, report)
    if "thinkingLevel" in thinking:
        where = f"{path}.thinkingLevel"
        level = decode(_text, thinking["thinkingLevel"], where, "a string")
        if level not in _LEVELS:
            raise LineRejected(where, "unsupported_value", "Not MINIMAL, LOW, MEDIUM or HIGH.")
        body["reasoning_effort"] = _LEVELS[level]
    elif "thinkingBudget" in thinking:
        where = f"{path}.thinkingBudget"
        if decode(_number, thinking["thinkingBudget"], where, "a whole number"):
            report.lose(where, "A budget of thoughts has no equivalent: use a level.")
        else:
            body["reasoning_effort"] = "none"


def _functions(raw: Raw, strict: bool, report: Report) -> list[dict[str, Any]]:
    made = []
    tools = decode(_list, raw, "request.tools", "a list of objects")
    for index, tool in enumerate(tools):
        path = f"request.tools[{index}]"
        given = fields(tool, path)
        only(path, given, {"functionDeclarations"}, report)
        where = f"{path}.functionDeclarations"
        declared = decode(_list, given.get("functionDeclarations", Raw(b"[]")), where, "a list")
        for number, each in enumerate(declared):
            made.append(_function(f"{where}[{number}]", each, strict, report))
    if strict and not any("strict" in each["function"] for each in made):
        report.lose(
            "request.toolConfig.functionCallingConfig.mode",
            "VALIDATED holds calls to schemas, of which none can be strict.",
        )
    return made


def _function(path: str, raw: Raw, strict: bool, report: Report) -> dict[str, Any]:
    given = fields(raw, path)
    only(path, given, {"name", "description", "parameters", "parametersJsonSchema"}, report)
    if "name" not in given:
        raise LineRejected(f"{path}.name", "missing_field", "A function needs a name.")
    function: dict[str, Any] = {key: given[key] for key in ("name", "description") if key in given}
    if "parametersJsonSchema" in given:
        function["parameters"] = given["parametersJsonSchema"]
    elif "parameters" in given:
        function["parameters"] = json_schema(given["parameters"], f"{path}.parameters", report)
    if strict and _enforceable(function.get("parameters", EMPTY)):
        function["strict"] = True
    return {"type": "function", "function": function}


def _enforceable(schema: Raw | dict[str, Any]) -> bool:
    """Whether Gemini holds a call to all of the schema, which "strict" asks for."""
    raw = schema if isinstance(schema, Raw) else Raw(msgspec.json.encode(schema))
    try:
        translate_schema(raw, "", Report())
    except LineRejected:
        return False
    return True


def _choice(path: str, mode: str, calling: Fields, report: Report) -> Any:
    if mode not in _MODES:
        raise LineRejected(f"{path}.mode", "unsupported_value", "Not AUTO, ANY, NONE, VALIDATED.")
    where = f"{path}.allowedFunctionNames"
    names = decode(_texts, calling.get("allowedFunctionNames", Raw(b"[]")), where, "a list")
    if mode == "ANY" and len(names) == 1:
        return {"type": "function", "function": {"name": names[0]}}
    if names:
        report.lose(where, "A choice among some of the functions has no equivalent.")
    return _MODES[mode]

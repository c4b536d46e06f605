"""Messages params to chat completion requests, where nothing is lost.

The way back of `request.translate_request`: what comes out translates to the same params
again, but for what has two ways of saying it. Sources: anthropic 2.12.0
types/message_create_params.py, openai 3.54.0 types/chat/completion_create_params.py.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from core.providers.anthropic.translation.reverse_messages import chat_messages, known_only
from core.providers.contract import LineRejected
from core.providers.translation.report import CHANGED, IGNORED, Report, decode

Fields = dict[str, Raw]

NULL = Raw(b"null")
MAX_STOPS = 4
"""Of OpenAI's `stop`."""
FORMAT_NAME = "response"
"""OpenAI wants a name for a schema; Anthropic has none."""

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool)
_stops = msgspec.json.Decoder(list[str])
_tools: msgspec.json.Decoder[list[Fields]] = msgspec.json.Decoder(list[Fields])

_AS_THEY_ARE = {
    "max_tokens": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
}
_HARMLESS = frozenset({"cache_control", "service_tier", "inference_geo"})
"""Without effect on the answer."""
_TRANSLATED = frozenset(
    {
        *_AS_THEY_ARE,
        "messages",
        "metadata",
        "model",
        "output_config",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}


def chat_request(params: bytes | Raw, report: Report) -> dict[str, Any]:
    """Turn Messages params into the body of a chat completion request, to be encoded.

    What has no equivalent is lost, as the report takes it. Raises LineRejected.
    """
    given = _given(params, "params")
    for key in given:
        if key in _HARMLESS:
            report.note(f"params.{key}", IGNORED, f"{key} has no effect on the answer.")
        elif key not in _TRANSLATED:
            report.lose(f"params.{key}")
    body: dict[str, Any] = {}
    for name in ("model", "max_tokens", "messages"):
        if name not in given:
            remedy = ": name one with --model" if name == "model" else ""
            raise LineRejected(f"params.{name}", "missing_field", f"{name} is needed{remedy}.")
    body["model"] = decode(_text, given["model"], "params.model", "a string")
    body["messages"] = chat_messages(given["messages"], given.get("system"), report)
    for name, target in _AS_THEY_ARE.items():
        if name in given:
            body[target] = given[name]
    if decode(_flag, given.get("stream", Raw(b"false")), "params.stream", "true or false"):
        raise LineRejected("params.stream", "streaming_unsupported", "Batches do not stream.")
    if "stop_sequences" in given:
        _add_stops(body, given["stop_sequences"])
    if "metadata" in given:
        _add_user(body, given["metadata"], report)
    if "tools" in given:
        body["tools"] = _functions(given["tools"], report)
    if "tool_choice" in given:
        _add_choice(body, given["tool_choice"], report)
    _add_output(body, given, report)
    return body


def _given(raw: bytes | Raw, path: str) -> Fields:
    fields = decode(_fields, Raw(raw), path, "an object")
    return {key: value for key, value in fields.items() if value != NULL}


def _add_stops(body: dict[str, Any], raw: Raw) -> None:
    stops = decode(_stops, raw, "params.stop_sequences", "a list of strings")
    if len(stops) > MAX_STOPS:
        raise LineRejected(
            "params.stop_sequences", "unsupported_value", f"OpenAI takes at most {MAX_STOPS}."
        )
    if stops:
        body["stop"] = stops


def _add_user(body: dict[str, Any], raw: Raw, report: Report) -> None:
    metadata = _given(raw, "params.metadata")
    known_only("params.metadata", metadata, {"user_id"}, report)
    if "user_id" in metadata:
        body["user"] = decode(_text, metadata["user_id"], "params.metadata.user_id", "a string")


def _functions(raw: Raw, report: Report) -> list[dict[str, Any]]:
    made = []
    tools = decode(_tools, raw, "params.tools", "a list of objects")
    for index, tool in enumerate(tools):
        path = f"params.tools[{index}]"
        tool = {key: value for key, value in tool.items() if value != NULL}
        kind = decode(_text, tool.pop("type", Raw(b'"custom"')), f"{path}.type", "a string")
        if kind != "custom":
            raise LineRejected(
                f"{path}.type", "unsupported_tool", f"{kind} runs at Anthropic: no equivalent."
            )
        known_only(path, tool, {"name", "description", "input_schema", "strict"}, report)
        if "name" not in tool or "input_schema" not in tool:
            raise LineRejected(path, "missing_field", "A tool needs a name and an input_schema.")
        function: Fields = {key: tool[key] for key in ("name", "description") if key in tool}
        function["parameters"] = tool["input_schema"]
        if "strict" in tool:
            function["strict"] = tool["strict"]
        made.append({"type": "function", "function": function})
    return made


def _add_choice(body: dict[str, Any], raw: Raw, report: Report) -> None:
    path = "params.tool_choice"
    choice = _given(raw, path)
    kind = decode(_text, choice.get("type", NULL), f"{path}.type", "a string")
    known_only(path, choice, {"type", "name", "disable_parallel_tool_use"}, report)
    if kind == "tool":
        name = decode(_text, choice.get("name", NULL), f"{path}.name", "a string")
        body["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif kind in _CHOICES:
        body["tool_choice"] = _CHOICES[kind]
    else:
        raise LineRejected(f"{path}.type", "unsupported_value", "Not auto, none, any or tool.")
    single = choice.get("disable_parallel_tool_use", Raw(b"false"))
    if decode(_flag, single, f"{path}.disable_parallel_tool_use", "true or false"):
        body["parallel_tool_calls"] = False


def _add_output(body: dict[str, Any], given: Fields, report: Report) -> None:
    thinking = _given(given.get("thinking", Raw(b"{}")), "params.thinking")
    output = _given(given.get("output_config", Raw(b"{}")), "params.output_config")
    known_only("params.output_config", output, {"effort", "format"}, report)
    kind = ""
    if "thinking" in given:
        kind = decode(_text, thinking.get("type", NULL), "params.thinking.type", "a string")
        known_only("params.thinking", thinking, {"type", "budget_tokens"}, report)
    if kind == "adaptive":
        effort = output.get("effort", Raw(b'"high"'))
        body["reasoning_effort"] = decode(_text, effort, "params.output_config.effort", "a string")
        if "effort" not in output:
            report.note("params.thinking", CHANGED, "The default effort is named: high.")
    elif "effort" in output:
        report.lose("params.output_config.effort", "Without adaptive thinking: no equivalent.")
    if kind in ("disabled", "between_tools"):
        body["reasoning_effort"] = "none"
    elif kind not in ("", "adaptive"):
        report.lose("params.thinking", "A budget of thoughts has no equivalent: use an effort.")
    if "format" in output:
        body["response_format"] = _format(output["format"], report)


def _format(raw: Raw, report: Report) -> dict[str, Any]:
    path = "params.output_config.format"
    given = _given(raw, path)
    known_only(path, given, {"type", "schema"}, report)
    if given.get("type") != Raw(b'"json_schema"') or "schema" not in given:
        raise LineRejected(f"{path}.type", "unsupported_value", "Not a json_schema.")
    schema = {"name": FORMAT_NAME, "strict": True, "schema": given["schema"]}
    return {"type": "json_schema", "json_schema": schema}

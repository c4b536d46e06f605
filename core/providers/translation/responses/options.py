"""What becomes of each field of a Responses request, beside its input and tools.

Source: openai 3.54 types/responses/response_create_params.py; a test compares the tables with
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.translation.fields import lose_untranslated
from core.providers.translation.report import IGNORED, Report, decode

Fields = dict[str, Raw]

NULL = Raw(b"null")

TRANSLATED = frozenset(
    {
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
    }
)

HARMLESS = frozenset(
    {
        "background",
        "background_options",
        "max_tool_calls",
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
"""Without effect on the answer, or a hint that may be ignored. A batch runs in the background
anyway, and max_tool_calls counts calls of built-in tools, of which there are none."""

HARMLESS_VALUES: Mapping[str, tuple[Any, ...]] = {
    "context_management": ([],),
    "image": ({}, {"context_compression": "auto"}),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""Values that ask for nothing; any other is lost."""

LOST = frozenset({"access_programs", "include", "moderation", "stream_options"})
"""Whatever they ask for, nobody else can do; of `include` see below."""

REFUSED: Mapping[str, str] = {
    "conversation": "Its turns are kept by OpenAI: give them in input.",
    "previous_response_id": "Its turns are kept by OpenAI: give them in input.",
    "prompt": "The template is kept by OpenAI: give its text in instructions and input.",
}
"""Not left out in any mode: without it the request is another."""

INCLUDE_WITHOUT_EFFECT = frozenset(
    {
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
"""Of `include`: about built-in tools, which are refused, or what the user has sent."""
NOT_INCLUDED = frozenset({"message.output_text.logprobs", "reasoning.encrypted_content"})
"""Of `include`: what no other provider gives."""

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_texts: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[str])
_verbosity = msgspec.json.Decoder(Literal["low", "medium", "high"])
_summary = msgspec.json.Decoder(Literal["auto", "concise", "detailed"])


def settle_untranslated(key: str, raw: Raw, report: Report) -> None:
    """A field that has no place in a chat completion. Raises LineRejected."""
    path = f"body.{key}"
    if key in REFUSED:
        raise LineRejected(path, "unsupported_parameter", REFUSED[key])
    if key == "include":
        _settle_include(path, raw, report)
    else:
        lose_untranslated(key, raw, report, harmless=HARMLESS, harmless_values=HARMLESS_VALUES)


def _settle_include(path: str, raw: Raw, report: Report) -> None:
    for index, name in enumerate(_names(path, raw)):
        where = f"{path}[{index}]"
        if name in INCLUDE_WITHOUT_EFFECT:
            report.note(where, IGNORED, f"There is no {name} in the answer.")
        else:
            report.lose(where, f"The provider gives no {name}.")


def _names(path: str, raw: Raw) -> list[str]:
    return decode(_texts, raw, path, "a list of strings")


def add_text(chat: dict[str, Any], raw: Raw, report: Report) -> None:
    """`text`: the format and the verbosity. Raises LineRejected."""
    path = "body.text"
    given = present(decode(_fields, raw, path, "an object"))
    _only(path, given, {"format", "verbosity"}, report)
    if "verbosity" in given:
        level = decode(_verbosity, given["verbosity"], f"{path}.verbosity", "low, medium or high")
        if level == "medium":
            report.note(f"{path}.verbosity", IGNORED, "medium asks for nothing.")
        else:
            chat["verbosity"] = level
    if "format" not in given:
        return
    path += ".format"
    described = present(decode(_fields, given["format"], path, "an object"))
    kind = decode(_text, described.pop("type", NULL), f"{path}.type", "a string")
    if kind == "json_schema":
        _only(path, described, {"name", "description", "schema", "strict"}, report)
        chat["response_format"] = {"type": kind, "json_schema": described}
        return
    _only(path, described, set(), report)
    if kind == "json_object":
        chat["response_format"] = {"type": kind}
    elif kind != "text":
        report.lose(f"{path}.type", f"{kind} has no equivalent: use json_schema.")


def add_reasoning(chat: dict[str, Any], raw: Raw, report: Report) -> None:
    """`reasoning`: the effort. Raises LineRejected."""
    path = "body.reasoning"
    given = present(decode(_fields, raw, path, "an object"))
    for key, value in given.items():
        where = f"{path}.{key}"
        if key == "effort":
            chat["reasoning_effort"] = value
        elif key in ("summary", "generate_summary"):
            wanted = decode(_summary, value, where, "auto, concise or detailed")
            if wanted == "auto":
                report.note(where, IGNORED, "The provider decides what it shows of its thoughts.")
            else:
                report.lose(where, "The provider decides what it shows of its thoughts.")
        elif key == "context" and value == Raw(b'"auto"'):
            report.note(where, IGNORED, "context asks for nothing.")
        elif key == "mode" and value == Raw(b'"standard"'):
            report.note(where, IGNORED, "mode asks for nothing.")
        else:
            report.lose(where)


def present(fields: Fields) -> Fields:
    """The fields that are not null: for an optional field it means the same as its absence."""
    return {key: raw for key, raw in fields.items() if raw != NULL}


def _only(path: str, given: Fields, known: set[str], report: Report) -> None:
    for key in [key for key in given if key not in known]:
        report.lose(f"{path}.{key}")
        del given[key]

"""What every translation reads alike of a chat completion request: body, tools, calls, media."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.translation.fields import NULL, data_url, known_only, lose_untranslated, string
from core.providers.translation.report import IGNORED, Report, decode, wrong_type

Fields = dict[str, Raw]

_FUNCTION = Raw(b'"function"')
_PDF_IN_BASE64 = "JVBERi"
"""How a PDF ("%PDF-") begins in base64."""

_fields = msgspec.json.Decoder(Fields)
_tools: msgspec.json.Decoder[list[Fields]] = msgspec.json.Decoder(list[Fields])
_text = msgspec.json.Decoder(str)


def read_fields(body: bytes | Raw) -> Fields:
    """The fields of a body that are not null: for an optional one that means its absence.

    Raises LineRejected.
    """
    try:
        fields = _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineRejected("body", "invalid_json", f"The body is unreadable: {error}") from None
    return {key: raw for key, raw in fields.items() if raw != NULL}


def read_chat(
    body: bytes | Raw,
    report: Report,
    *,
    translated: Collection[str],
    harmless: Collection[str],
    harmless_values: Mapping[str, Collection[Any]],
) -> Fields:
    """The fields of a chat completion request; those that are not `translated` are lost.

    `harmless`, `harmless_values`: as of `lose_untranslated`. Raises LineRejected.
    """
    given = read_fields(body)
    for key in given:
        if key not in translated:
            lose_untranslated(
                key, given[key], report, harmless=harmless, harmless_values=harmless_values
            )
    if "messages" not in given:
        raise LineRejected("body.messages", "missing_field", "messages are needed.")
    return given


def function_tools(raw: Raw, report: Report) -> Iterator[tuple[str, Fields]]:
    """Path and fields of each function among the tools. Raises LineRejected."""
    names: set[str] = set()
    given = decode(_tools, raw, "body.tools", "a list of tool objects")
    for index, tool in enumerate(given):
        path = f"body.tools[{index}]"
        if tool.get("type") != _FUNCTION or "function" not in tool:
            raise LineRejected(
                f"{path}.type", "unsupported_tool", "Only function tools can be translated."
            )
        known_only(path, tool, {"type", "function"}, report)
        path += ".function"
        function = decode(_fields, tool["function"], path, "an object")
        function = {key: value for key, value in function.items() if value != NULL}
        known_only(path, function, {"name", "description", "parameters", "strict"}, report)
        if "name" not in function:
            raise LineRejected(f"{path}.name", "missing_field", "A function needs a name.")
        name = decode(_text, function["name"], f"{path}.name", "a string")
        if name in names:
            raise LineRejected(f"{path}.name", "duplicate_tool", "Two tools share a name.")
        names.add(name)
        yield path, function


def call_arguments(path: str, text: Any) -> Raw:
    """The arguments of a tool call as JSON, numbers as they were written.

    An empty text, as a call without arguments has from some models, is an empty object.
    Raises LineRejected.
    """
    try:
        encoded = string(path, text).encode() or b"{}"
        _fields.decode(encoded)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise LineRejected(
            path, "invalid_arguments", f"{path} has to be a JSON object written as a string."
        ) from None
    return one_line(encoded)


def one_line(encoded: bytes) -> Raw:
    """JSON without a newline."""
    if b"\n" in encoded or b"\r" in encoded:
        encoded = msgspec.json.format(encoded, indent=-1)
    return Raw(encoded)


def image_url(path: str, image: Any, report: Report) -> str:
    """The url of an image_url part: https, or a data URL. Raises LineRejected."""
    if not isinstance(image, dict):
        raise wrong_type(path, "an object with a url")
    known_only(path, image, {"url", "detail"}, report)
    if image.get("detail") not in (None, "auto"):
        report.note(f"{path}.detail", IGNORED, "The model has no level of detail.")
    return string(f"{path}.url", image.get("url"))


def file_data(path: str, file: Any, report: Report) -> tuple[str, str]:
    """The media type and the base64 of a file part. Raises LineRejected."""
    if not isinstance(file, dict):
        raise wrong_type(path, "an object with file_data")
    if file.get("file_id") is not None:
        raise LineRejected(
            f"{path}.file_id",
            "unsupported_file_id",
            "A file id of one provider means nothing to another: send file_data.",
        )
    known_only(path, file, {"file_data", "filename"}, report)
    path += ".file_data"
    text = string(path, file.get("file_data"))
    if text.startswith(_PDF_IN_BASE64):
        return "application/pdf", text
    return data_url(path, text, "a base64 data URL, or the base64 of a PDF")

"""Gemini's own schemas (a subset of OpenAPI 3.0) to JSON schemas.

Source: google-genai 3.4 types.py, Schema.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from core.providers.gemini.reverse_messages import camel
from core.providers.translation.report import Report, decode, wrong_type

_schema = msgspec.json.Decoder(dict[str, Any])

_SAME = frozenset(
    {
        "default",
        "description",
        "enum",
        "format",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "pattern",
        "required",
        "title",
    }
)
_COUNTS = frozenset(key for key in _SAME if key.startswith(("max", "min")) and key[3:] != "imum")
"""64-bit numbers, which Google's JSON may write as strings."""


def json_schema(raw: Raw, path: str, report: Report) -> dict[str, Any]:
    """The schema as JSON Schema says it. Raises LineRejected."""
    return _walk(decode(_schema, raw, path, "a schema"), path, report)


def _walk(schema: Any, path: str, report: Report) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise wrong_type(path, "a schema")
    made: dict[str, Any] = {}
    nullable = False
    for given, value in schema.items():
        key = camel(given)
        where = f"{path}.{given}"
        if key == "type" and isinstance(value, str):
            made["type"] = value.lower()
        elif key == "nullable":
            nullable = value is True
        elif key == "items":
            made[key] = _walk(value, where, report)
        elif key == "properties" and isinstance(value, dict):
            made[key] = {
                name: _walk(each, f"{where}.{name}", report) for name, each in value.items()
            }
        elif key == "anyOf" and isinstance(value, list):
            made[key] = [_walk(each, f"{where}[{i}]", report) for i, each in enumerate(value)]
        elif key in _SAME:
            made[key] = int(value) if key in _COUNTS and _is_digits(value) else value
        elif key == "propertyOrdering":
            # The order in which they stand is the order, in JSON Schema's users.
            continue
        else:
            report.lose(where, f"{given} is no keyword of JSON Schema.")
    if nullable and "type" in made:
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    elif nullable:
        report.lose(f"{path}.nullable", "Without a type: no equivalent.")
    return made


def _is_digits(value: Any) -> bool:
    return isinstance(value, str) and value.isdecimal()

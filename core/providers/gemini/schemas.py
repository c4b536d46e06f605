"""JSON schemas that Gemini is to enforce: what of them it knows, and what gets lost.

Source: google-genai 3.4 types.py, GenerationConfig.response_json_schema: the keywords that
are supported (others are ignored, which would be a silent loss), enum for strings and
numbers, oneOf taken for anyOf, nothing but $-keywords beside $ref; a schema may contain itself
only within properties that are not required ("Nullable properties are not sufficient").
"definitions", as older programs write $defs, is none of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.translation.references import check_references
from core.providers.translation.report import CHANGED, Note, Report, decode
from core.providers.translation.schemas import CheckedSchema, enforcing

Raw = msgspec.Raw
Fields = dict[str, Any]

_SUPPORTED = frozenset(
    {
        "$id",
        "$defs",
        "$ref",
        "$anchor",
        "type",
        "format",
        "title",
        "description",
        "enum",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "anyOf",
        "properties",
        "additionalProperties",
        "required",
        "propertyOrdering",
    }
)
_SILENT = frozenset(
    {"$schema", "$comment", "default", "deprecated", "examples", "readOnly", "writeOnly"}
)
"""Keywords that ask for nothing."""
_ASKS_NOTHING: Fields = {"uniqueItems": False, "minLength": 0, "minProperties": 0}
_ONE = ("items", "additionalProperties")
_MANY = ("anyOf", "prefixItems")
_NAMED = ("properties", "$defs")

_fields = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_decode = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


def described(schema: Raw, description: Raw, path: str, report: Report) -> Raw:
    """The schema with what its format is for, which OpenAI tells the model as well."""
    decode(_text, description, path, "a string")
    fields = _fields.decode(schema)
    if "description" in fields:
        report.lose(path, "The schema has a description of its own.")
        return schema
    return Raw(_encode(fields | {"description": description}))


def _check(raw: bytes) -> CheckedSchema:
    notes: list[Note] = []
    try:
        given = _decode.decode(raw)
        made = _walk(_with_defs(given, notes), "", notes)
        notes += _refused_references(made)
    except (RecursionError, msgspec.DecodeError):
        text = "The schema is nested too deeply, or has a number out of range."
        return CheckedSchema(raw, (Note("", "unsupported_schema", text, "refused"),))
    return CheckedSchema(raw if made == given else _encode(made), tuple(notes))


translate_schema = enforcing(_check)
"""A schema that is to be enforced, in the form that Gemini takes: see `enforcing`."""


def _check_loose(raw: bytes) -> CheckedSchema:
    if b"$ref" not in raw and b"definitions" not in raw:
        return CheckedSchema(raw, ())
    notes: list[Note] = []
    try:
        given = _decode.decode(raw)
        made = _with_defs(given, notes)
        notes += _refused_references(made)
    except (RecursionError, msgspec.DecodeError):
        text = "The schema is nested too deeply, or has a number out of range."
        return CheckedSchema(raw, (Note("", "unsupported_schema", text, "refused"),))
    return CheckedSchema(raw if made is given else _encode(made), tuple(notes))


translate_loose_schema = enforcing(_check_loose)
"""A schema of a tool whose calls are not held to it: only its references have to be right."""


def _with_defs(schema: Fields, notes: list[Note]) -> Fields:
    """The schema with $defs in the place of definitions, and references to there."""
    if not isinstance(schema.get("definitions"), dict):
        return schema
    both = schema["definitions"].keys() & schema.get("$defs", {}).keys()
    if both:
        text = f"$defs and definitions both have {min(both)[:80]!r}: expected one of them."
        notes.append(Note(".definitions", "unsupported_schema", text, "refused"))
        return schema
    made: Fields = _redirected(schema)
    made["$defs"] = made.get("$defs", {}) | made.pop("definitions")
    notes.append(Note(".definitions", CHANGED, "$defs takes the place of definitions."))
    return made


_OLD, _NEW = "#/definitions/", "#/$defs/"


def _redirected(part: Any) -> Any:
    if isinstance(part, list):
        return [_redirected(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _NEW + value.removeprefix(_OLD)
        if key == "$ref" and isinstance(value, str) and value.startswith(_OLD)
        else _redirected(value)
        for key, value in part.items()
    }


def _refused_references(schema: Fields) -> list[Note]:
    field, message = check_references(schema, optional=True)
    return [Note(field, "unsupported_schema", message, "refused")] if message else []


def _walk(schema: Any, path: str, notes: list[Note]) -> Any:
    if not isinstance(schema, dict):
        return schema
    fields = {key: value for key, value in schema.items() if key not in _SILENT}
    _use_enum(fields, path, notes)
    _use_any_of(fields, path, notes)
    for key in [key for key in fields if key not in _SUPPORTED]:
        value = fields.pop(key)
        if key not in _ASKS_NOTHING or value != _ASKS_NOTHING[key]:
            notes.append(_lost(f"{path}.{key}", f"{key} cannot be enforced."))
    for key in _ONE:
        if key in fields:
            fields[key] = _walk(fields[key], f"{path}.{key}", notes)
    for key in _MANY:
        if isinstance(fields.get(key), list):
            fields[key] = [
                _walk(each, f"{path}.{key}[{number}]", notes)
                for number, each in enumerate(fields[key])
            ]
    for key in _NAMED:
        if isinstance(fields.get(key), dict):
            fields[key] = {
                name: _walk(each, f"{path}.{key}.{name}", notes)
                for name, each in fields[key].items()
            }
    if "$ref" in fields and any(not key.startswith("$") for key in fields):
        if "anyOf" in fields:
            del fields["anyOf"]
            notes.append(_lost(f"{path}.anyOf", "anyOf beside $ref cannot be enforced."))
        # What stands beside it stays, around it.
        fields["anyOf"] = [{"$ref": fields.pop("$ref")}]
        notes.append(Note(f"{path}.$ref", CHANGED, "anyOf holds $ref, beside other keywords."))
    return fields


def _use_enum(fields: Fields, path: str, notes: list[Note]) -> None:
    if "const" in fields and "enum" not in fields:
        fields["enum"] = [fields.pop("const")]
        notes.append(Note(f"{path}.const", CHANGED, "enum takes the place of const."))
    values = fields.get("enum")
    if isinstance(values, list) and any(
        isinstance(value, bool) or not isinstance(value, str | int | float) for value in values
    ):
        del fields["enum"]
        notes.append(_lost(f"{path}.enum", "enum takes strings and numbers only."))


def _use_any_of(fields: Fields, path: str, notes: list[Note]) -> None:
    for key in ("oneOf", "allOf"):
        given = fields.get(key)
        # All of one schema is any of it.
        same = isinstance(given, list) and (key == "oneOf" or len(given) == 1)
        if same and "anyOf" not in fields:
            fields["anyOf"] = fields.pop(key)
            notes.append(Note(f"{path}.{key}", CHANGED, f"anyOf takes the place of {key}."))


def _lost(field: str, message: str) -> Note:
    return Note(field, "unsupported_schema", message, "lost")

"""JSON schemas that Anthropic is to enforce: which it takes, and what they lose.

Sources: platform.claude.com, structured outputs, "JSON schema limitations" (an unsupported
feature is answered with 400); anthropic 2.12.0 lib/_parse/_transform.py, which makes the
same schemas as this does in the lenient mode, but for the descriptions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from core.providers.translation.report import CHANGED, Note
from core.providers.translation.schemas import CheckedSchema, enforcing

Raw = msgspec.Raw
Fields = dict[str, Any]

_FALSE = Raw(b"false")

_UNSUPPORTED = frozenset(
    {
        "maxItems",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "prefixItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedProperties",
        "unevaluatedItems",
        "if",
        "then",
        "else",
        "not",
    }
)
_ASKS_NOTHING = {"uniqueItems": b"false", "minLength": b"0", "minProperties": b"0"}
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)

_fields = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])
_any: Callable[[Raw], Any] = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def _check(raw: bytes) -> CheckedSchema:
    walk = _Walk()
    try:
        schema = walk.schema(Raw(raw), "", "#")
    except RecursionError:
        return CheckedSchema(raw, (_refusal("", "The schema is nested too deeply."),))
    if walk.recursive():
        walk.notes.append(_refusal("", "A schema that refers to itself cannot be enforced."))
    changed = walk.changed or walk.notes
    return CheckedSchema(_encode(schema) if changed else raw, tuple(walk.notes))


translate_schema = enforcing(_check)
"""A schema that is to be enforced, in the form that Anthropic takes: see `enforcing`."""


def _refusal(field: str, message: str) -> Note:
    return Note(field, "unsupported_schema", message, "refused")


class _Walk:
    """Walks through one schema."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.changed = False
        self._refers: dict[str, set[str]] = {}
        """Definitions (and "#", the whole) to those that they refer to."""

    def schema(self, raw: Raw, path: str, inside: str) -> Raw | Fields:
        """`inside`: the definition that this is part of."""
        if not bytes(raw).startswith(b"{"):
            return raw
        fields: Fields = dict(_fields.decode(raw))
        for key in [key for key in fields if key in _UNSUPPORTED]:
            self.changed = True
            if bytes(fields.pop(key)) != _ASKS_NOTHING.get(key):
                self._lose(f"{path}.{key}", f"{key} cannot be enforced.")
        self._refer(fields, path, inside)
        self._use_any_of(fields, path)
        for key in ("anyOf", "allOf"):
            if _is_list(fields.get(key)):
                fields[key] = [
                    self.schema(each, f"{path}.{key}[{number}]", inside)
                    for number, each in enumerate(_list.decode(fields[key]))
                ]
        self._check_values(fields, path)
        self._check_items(fields, path, inside)
        for key in ("$defs", "definitions"):
            if _is_object(fields.get(key)):
                fields[key] = {
                    name: self.schema(each, f"{path}.{key}.{name}", f"#/{key}/{name}")
                    for name, each in _fields.decode(fields[key]).items()
                }
        self._close(fields, path, inside)
        return fields

    def _close(self, fields: Fields, path: str, inside: str) -> None:
        """Objects with fixed properties are the only ones."""
        kind = _any(fields["type"]) if "type" in fields else None
        if _is_object(fields.get("properties")):
            fields["properties"] = {
                name: self.schema(each, f"{path}.properties.{name}", inside)
                for name, each in _fields.decode(fields["properties"]).items()
            }
        elif kind != "object" and not (isinstance(kind, list) and "object" in kind):
            return
        more = fields.get("additionalProperties")
        if more == _FALSE:
            return
        if more is not None:
            self._lose(f"{path}.additionalProperties", "Other properties cannot be allowed.")
        elif not fields.get("properties"):
            self._lose(path, "An object whose properties are not named cannot be enforced.")
        else:
            self.notes.append(
                Note(path, CHANGED, "additionalProperties: false is added, which is needed.")
            )
        fields["additionalProperties"] = _FALSE

    def _use_any_of(self, fields: Fields, path: str) -> None:
        if "oneOf" not in fields:
            return
        if "anyOf" in fields:
            del fields["oneOf"]
            self._lose(f"{path}.oneOf", "oneOf beside anyOf cannot be enforced.")
        else:
            fields["anyOf"] = fields.pop("oneOf")
            self.notes.append(Note(f"{path}.oneOf", CHANGED, "anyOf takes the place of oneOf."))

    def _check_values(self, fields: Fields, path: str) -> None:
        for key in ("enum", "const"):
            if key not in fields:
                continue
            values = _any(fields[key])
            values = values if key == "enum" and isinstance(values, list) else [values]
            if any(isinstance(value, (dict, list)) for value in values):
                del fields[key]
                self._lose(f"{path}.{key}", f"{key} takes no objects or lists.")
        if "format" in fields and _any(fields["format"]) not in _FORMATS:
            del fields["format"]
            self._lose(f"{path}.format", "This format cannot be enforced.")

    def _check_items(self, fields: Fields, path: str, inside: str) -> None:
        if "minItems" in fields and bytes(fields["minItems"]) not in (b"0", b"1"):
            del fields["minItems"]
            self._lose(f"{path}.minItems", "minItems can be 0 or 1.")
        items = fields.get("items")
        if items is None:
            return
        if _is_list(items):
            del fields["items"]
            self._lose(f"{path}.items", "A list of schemas for items cannot be enforced.")
        else:
            fields["items"] = self.schema(items, f"{path}.items", inside)

    def _refer(self, fields: Fields, path: str, inside: str) -> None:
        if "$ref" not in fields:
            return
        target = _any(fields["$ref"])
        if not isinstance(target, str) or not target.startswith("#"):
            self.notes.append(_refusal(f"{path}.$ref", "$ref has to be within the schema."))
        else:
            self._refers.setdefault(inside, set()).add(target)

    def recursive(self) -> bool:
        """Whether a definition, or the whole, refers to itself, by others or not."""
        for start in self._refers:
            seen: set[str] = set()
            ahead = [start]
            while ahead:
                for target in self._refers.get(ahead.pop(), ()):
                    # Every definition is part of the whole.
                    if target in (start, "#"):
                        return True
                    if target not in seen:
                        seen.add(target)
                        ahead.append(target)
        return False

    def _lose(self, field: str, message: str) -> None:
        self.notes.append(Note(field, "unsupported_schema", message, "lost"))


def _is_list(value: object) -> bool:
    return isinstance(value, Raw) and bytes(value).startswith(b"[")


def _is_object(value: object) -> bool:
    return isinstance(value, Raw) and bytes(value).startswith(b"{")

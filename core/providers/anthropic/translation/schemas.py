"""JSON schemas that Anthropic is to enforce: which it takes, and what they lose.

Sources: platform.claude.com, structured outputs, "JSON schema limitations" (an unsupported
feature is answered with 400; allOf not with $ref; of patterns no references to groups, no
looking ahead or behind, no word boundaries); anthropic 2.12.0 lib/_parse/_transform.py, which
makes the same schemas as this does in the lenient mode, but for the descriptions: it writes
what it leaves out into them, which this does with examples only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from core.providers.translation.references import check_references
from core.providers.translation.report import CHANGED, IGNORED, Note
from core.providers.translation.schemas import CheckedSchema, enforcing

Raw = msgspec.Raw
Fields = dict[str, Any]

_FALSE = Raw(b"false")

_SUPPORTED = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "default",
        "definitions",
        "description",
        "enum",
        "format",
        "items",
        "minItems",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
    }
)
_SILENT = frozenset({"$schema", "$id", "$comment"})
"""Say nothing of the values, and are in most schemas that programs make."""
_ONLY_ABOUT = frozenset({"title", "description", "default"})
"""Say something to the model, and hold it to nothing."""

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
        "nullable",
    }
)
_ASKS_NOTHING = {
    "uniqueItems": b"false",
    "minLength": b"0",
    "minProperties": b"0",
    "nullable": b"false",
}
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)

_IN_PATTERNS = re.compile(
    r"\\(?P<escaped>.)|\[(?:\\.|[^\]\\])*\]|(?P<around>\(\?(?:<?[=!]|P=))", re.S
)

_fields = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])
_any: Callable[[Raw], Any] = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def _check(raw: bytes) -> CheckedSchema:
    walk = _Walk()
    try:
        schema = walk.schema(Raw(raw), "")
        field, message = check_references(_any(Raw(raw)), optional=False)
    except RecursionError:
        return CheckedSchema(raw, (_refusal("", "The schema is nested too deeply."),))
    if message:
        walk.notes.append(_refusal(field, message))
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

    def schema(self, raw: Raw, path: str) -> Raw | Fields:
        if not bytes(raw).startswith(b"{"):
            return raw
        fields: Fields = dict(_fields.decode(raw))
        self._unwrap_all_of(fields, path)
        for key in [key for key in fields if key not in _SUPPORTED]:
            self._leave_out(key, fields.pop(key), fields, path)
        self._use_any_of(fields, path)
        for key in ("anyOf", "allOf"):
            if _is_list(fields.get(key)):
                fields[key] = [
                    self.schema(each, f"{path}.{key}[{number}]")
                    for number, each in enumerate(_list.decode(fields[key]))
                ]
        if any("$ref" in each for each in fields.get("allOf", ()) if isinstance(each, dict)):
            self.notes.append(
                _refusal(f"{path}.allOf", "allOf takes no $ref: write the parts out.")
            )
        self._check_values(fields, path)
        self._check_items(fields, path)
        for key in ("$defs", "definitions"):
            if _is_object(fields.get(key)):
                fields[key] = {
                    name: self.schema(each, f"{path}.{key}.{name}")
                    for name, each in _fields.decode(fields[key]).items()
                }
        self._close(fields, path)
        return fields

    def _leave_out(self, key: str, value: Raw, fields: Fields, path: str) -> None:
        self.changed = True
        where = f"{path}.{key}"
        if key in _UNSUPPORTED:
            if bytes(value) != _ASKS_NOTHING.get(key):
                self._lose(where, f"{key} cannot be enforced.")
        elif key == "examples":
            description = _any(fields["description"]) if "description" in fields else ""
            examples = f"{{examples: {bytes(value).decode()}}}"
            fields["description"] = f"{description}\n\n{examples}" if description else examples
            self.notes.append(Note(where, CHANGED, "The examples are told in the description."))
        elif key not in _SILENT:
            self.notes.append(Note(where, IGNORED, f"{key} has no effect on what is enforced."))

    def _unwrap_all_of(self, fields: Fields, path: str) -> None:
        """All of one schema is that schema, which programs write to put a title beside $ref."""
        members = _list.decode(fields["allOf"]) if _is_list(fields.get("allOf")) else []
        if len(members) != 1 or not _is_object(members[0]):
            return
        only = _fields.decode(members[0])
        if all(
            only[key] == fields[key] or key in _ONLY_ABOUT for key in only.keys() & fields.keys()
        ):
            del fields["allOf"]
            # What stands outside is meant for this place.
            fields.update({key: only[key] for key in only if key not in fields})
            self.notes.append(
                Note(f"{path}.allOf", CHANGED, "Its only member takes the place of allOf.")
            )

    def _close(self, fields: Fields, path: str) -> None:
        """Objects with fixed properties are the only ones."""
        kind = _any(fields["type"]) if "type" in fields else None
        if _is_object(fields.get("properties")):
            fields["properties"] = {
                name: self.schema(each, f"{path}.properties.{name}")
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
        pattern = _any(fields["pattern"]) if "pattern" in fields else ""
        if isinstance(pattern, str) and (part := _unsupported_part(pattern)):
            del fields["pattern"]
            self._lose(f"{path}.pattern", f"A pattern with {part} cannot be enforced.")

    def _check_items(self, fields: Fields, path: str) -> None:
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
            fields["items"] = self.schema(items, f"{path}.items")

    def _lose(self, field: str, message: str) -> None:
        self.notes.append(Note(field, "unsupported_schema", message, "lost"))


def _is_list(value: object) -> bool:
    return isinstance(value, Raw) and bytes(value).startswith(b"[")


def _is_object(value: object) -> bool:
    return isinstance(value, Raw) and bytes(value).startswith(b"{")


def _unsupported_part(pattern: str) -> str:
    """What of a regular expression cannot be enforced; empty if all can."""
    for found in _IN_PATTERNS.finditer(pattern):
        escaped = found["escaped"] or ""
        if found["around"]:
            back = found["around"] == "(?P="
            return "a reference to a group" if back else "a look ahead or behind"
        if escaped in "bB" and escaped:
            return "a word boundary"
        if escaped in "123456789k" and escaped:
            return "a reference to a group"
    return ""

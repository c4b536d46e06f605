"""What Anthropic refuses of the tools of a request, and of the schemas that it is to enforce.

Source: platform.claude.com, structured outputs, "JSON schema limitations" and "Schema
complexity limits" (2026-11), and tool use, "Define tools" (names). Wordings are those that
people have met (anthropic-sdk-python#1185, inbox-zero#2323, claude-code#10606).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

MAX_STRICT_TOOLS = 20
MAX_OPTIONAL = 24
MAX_UNIONS = 16

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CONSTRAINTS = frozenset(
    """minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems
    uniqueItems contains minContains maxContains prefixItems minProperties maxProperties
    patternProperties propertyNames dependentRequired dependentSchemas unevaluatedItems
    unevaluatedProperties if then else not nullable""".split()  # noqa: SIM905
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_NOT_IN_PATTERNS = re.compile(r"\(\?<?[=!]|(?<!\\)(?:\\\\)*\\[bB1-9]")
_CLASS = re.compile(r"\[(?:\\.|[^\]\\])*\]")


class Strict(NamedTuple):
    """A schema that is to be enforced."""

    where: str
    schema: dict[str, Any]


def tools_problem(tools: Iterable[tuple[str, dict[str, Any] | None]], chosen: str) -> str:
    """What is wrong with tools (name, schema) and the name that is chosen; empty if nothing."""
    names: set[str] = set()
    for number, (name, schema) in enumerate(tools):
        if not _NAME.fullmatch(name):
            pattern = "^[a-zA-Z0-9_-]{1,128}$"
            return f"tools.{number}.custom.name: String should match pattern '{pattern}'"
        if name in names:
            return "tools: Tool names must be unique."
        names.add(name)
        if schema is not None and {"anyOf", "oneOf", "allOf"} & schema.keys():
            return (
                f"tools.{number}.custom.input_schema: input_schema does not support oneOf, allOf, "
                "or anyOf at the top level"
            )
    if chosen and chosen not in names:
        return f"tool_choice: Tool '{chosen}' not found in provided tools"
    return ""


def strict_problem(strict: list[Strict], strict_tools: int) -> str:
    """What is wrong with the schemas that are to be enforced; empty if nothing."""
    if strict_tools > MAX_STRICT_TOOLS:
        return f"Too many strict tools ({strict_tools}, limit: {MAX_STRICT_TOOLS})."
    try:
        return _problem(strict)
    except RecursionError:
        return "Schema is too complex for compilation."


def _problem(strict: list[Strict]) -> str:
    optional = unions = 0
    for where, schema in strict:
        for part in _parts(schema):
            if problem := _part_problem(part, schema):
                return f"{where}: {problem}"
            properties = part.get("properties")
            if isinstance(properties, dict):
                optional += sum(name not in _list(part, "required") for name in properties)
                unions += sum(map(_is_union, properties.values()))
        if _is_recursive(schema):
            return f"{where}: Recursive schemas are not supported"
    if optional > MAX_OPTIONAL:
        return (
            f"Schemas contains too many optional parameters ({optional}), which would make "
            f"grammar compilation inefficient (limit: {MAX_OPTIONAL})."
        )
    if unions > MAX_UNIONS:
        return (
            f"Schemas contains too many parameters with union types ({unions} parameters with "
            f"type arrays or anyOf) which exceeds the limit: {MAX_UNIONS}."
        )
    return ""


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and every one within it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            for inner in schema[key].values():
                yield from _parts(inner)
    for key in ("anyOf", "allOf", "oneOf"):
        for inner in _list(schema, key):
            yield from _parts(inner)
    yield from _parts(schema.get("items"))


def _list(part: dict[str, Any], key: str) -> list[Any]:
    found = part.get(key)
    return found if isinstance(found, list) else []


def _part_problem(part: dict[str, Any], whole: dict[str, Any]) -> str:
    unsupported = min(_CONSTRAINTS & part.keys(), default="")
    if unsupported and part[unsupported] is not False:
        return f"For '{part.get('type')}' type, property '{unsupported}' is not supported"
    kind = part.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    if (is_object or "properties" in part) and part.get("additionalProperties") is not False:
        return "For 'object' type, 'additionalProperties' must be explicitly set to false"
    if part.get("minItems", 0) not in (0, 1):
        return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if "format" in part and str(part["format"]) not in _FORMATS:
        return f"String format '{part['format']}' is not supported"
    if any(isinstance(value, dict | list) for value in _list(part, "enum")):
        return "Enum values of complex types are not supported"
    if _NOT_IN_PATTERNS.search(_CLASS.sub("x", str(part.get("pattern", "")))):
        return "Pattern is not supported"
    if any("$ref" in each for each in _list(part, "allOf") if isinstance(each, dict)):
        return "allOf with $ref is not supported"
    if "$ref" in part and _target(part["$ref"], whole) is None:
        return f"$ref '{part['$ref']}' cannot be resolved"
    return ""


def _is_union(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    return "anyOf" in schema or (isinstance(schema.get("type"), list) and len(schema["type"]) > 1)


def _target(ref: Any, whole: dict[str, Any]) -> dict[str, Any] | None:
    if not isinstance(ref, str) or not ref.startswith("#"):
        return None
    found: Any = whole
    for name in ref.split("/")[1:]:
        found = (
            found.get(name.replace("~1", "/").replace("~0", "~"))
            if isinstance(found, dict)
            else None
        )
    return found if isinstance(found, dict) else None


def _is_recursive(whole: dict[str, Any]) -> bool:
    def reaches(part: dict[str, Any], above: tuple[str, ...]) -> bool:
        inner = {key: part[key] for key in part if key not in ("$defs", "definitions")}
        for each in _parts(inner):
            ref = each.get("$ref")
            if ref is None:
                continue
            if ref in above or ref == "#":
                return True
            target = _target(ref, whole)
            if target is not None and ref not in done:
                if reaches(target, (*above, ref)):
                    return True
                done.add(ref)
        return False

    done: set[str] = set()
    return any(reaches(part, ()) for part in _parts(whole))

"""What Gemini refuses of function declarations, and of references in JSON schemas.

Source: google-genai 3.4 types.py (FunctionDeclaration.name, FunctionCallingConfig,
GenerationConfig.response_json_schema: cyclic references only within properties that are not
required); wordings as people have met them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


def names_problem(names: Sequence[str], allowed: Sequence[str]) -> str:
    """What is wrong with the names of functions, and those that may be called."""
    for number, name in enumerate(names):
        if not _NAME.fullmatch(name):
            return (
                f"GenerateContentRequest.tools[0].function_declarations[{number}].name: Invalid "
                "function name. Must start with a letter or an underscore. Must be alphameric "
                "(a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a "
                "maximum length of 128."
            )
        if name in names[:number]:
            return f"Duplicate function declaration found: {name}"
    unknown = next((name for name in allowed if name not in names), "")
    return f"allowed_function_names has no declaration: {unknown}" if unknown else ""


def references_problem(schema: Any) -> str:
    """What is wrong with the references of a JSON schema; empty if nothing."""
    try:
        return _problem(schema)
    except RecursionError:
        return "schema is nested too deeply"


def _problem(schema: Any) -> str:
    for ref, _ in _references(schema, needed=True, inside_definitions=True):
        if _target(ref, schema) is None:
            return f"reference to undefined schema: {ref}"

    def needs_itself(ref: str, above: tuple[str, ...]) -> bool:
        if ref in above:
            return True
        return any(
            needs_itself(each, (*above, ref))
            for each, needed in _references(_target(ref, schema), needed=True)
            if needed
        )

    refs = {"#"} | {ref for ref, _ in _references(schema, needed=True, inside_definitions=True)}
    if any(needs_itself(ref, ()) for ref in refs):
        return "schema has a cyclic reference in required properties"
    return ""


def _target(ref: Any, whole: Any) -> Any:
    if not isinstance(ref, str) or not ref.startswith("#") or ref.startswith("#/definitions"):
        return None
    for name in ref.split("/")[1:]:
        whole = whole.get(name) if isinstance(whole, dict) else None
    return whole


def _references(
    schema: Any, *, needed: bool, inside_definitions: bool = False
) -> Iterator[tuple[Any, bool]]:
    """References, and whether a value has to follow them."""
    if isinstance(schema, list):
        for each in schema:
            yield from _references(each, needed=needed, inside_definitions=inside_definitions)
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if key == "$ref":
            yield value, needed
        elif key == "properties" and isinstance(value, dict):
            for name, inner in value.items():
                required = schema.get("required")
                has_to = needed and isinstance(required, list) and name in required
                yield from _references(inner, needed=has_to, inside_definitions=inside_definitions)
        elif key in ("$defs", "definitions"):
            if inside_definitions and isinstance(value, dict):
                for inner in value.values():
                    yield from _references(inner, needed=needed, inside_definitions=True)
        elif key not in ("enum", "const", "default", "examples", "required"):
            yield from _references(value, needed=needed, inside_definitions=inside_definitions)

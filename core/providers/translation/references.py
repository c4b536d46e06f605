"""References of a JSON schema: where they lead, and whether they lead back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

_ONE = ("items", "additionalProperties", "not")
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")


def check_references(schema: Any, *, optional: bool) -> tuple[str, str]:
    """(field, message) of a reference that no provider can follow; empty if all are well.

    `field` is below the schema. `optional`: a schema may contain itself where that is within
    a property that is not required (a null in its place is not enough).
    """
    for path, target in _everywhere(schema, ""):
        if not isinstance(target, str) or not target.startswith("#"):
            return (
                f"{path}.$ref",
                "$ref has to lead to a place within the schema, such as #/$defs/x.",
            )
        if find(schema, target) is None:
            return f"{path}.$ref", f"There is no {target[:80]} in the schema."
    if _is_cyclic(schema, optional):
        return "", (
            "A schema that has to contain itself cannot be met: leave the property that leads back "
            "out of required."
            if optional
            else "A schema that refers to itself cannot be enforced."
        )
    return "", ""


def find(schema: Any, target: str) -> Any:
    """What a reference within the schema leads to; None if there is nothing."""
    found = schema
    for part in target.removeprefix("#").split("/")[1:]:
        part = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and part.isascii() and part.isdigit():
            found = found[int(part)] if int(part) < len(found) else None
        elif isinstance(found, dict):
            found = found.get(part)
        else:
            return None
    return found if isinstance(found, dict | bool) else None


def _everywhere(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every reference with the path of its schema, definitions included."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield path, schema["$ref"]
    for name, inner in _within(schema):
        yield from _everywhere(inner, f"{path}.{name}")
    for key in ("$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            for name, inner in schema[key].items():
                yield from _everywhere(inner, f"{path}.{key}.{name}")


def _within(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas that a value of this one has to do with, and their names."""
    if isinstance(schema.get("properties"), dict):
        for name, inner in schema["properties"].items():
            yield f"properties.{name}", inner
    for key in _ONE:
        if key in schema:
            yield key, schema[key]
    for key in _MANY:
        if isinstance(schema.get(key), list):
            for number, inner in enumerate(schema[key]):
                yield f"{key}[{number}]", inner


def _is_cyclic(schema: Any, optional: bool) -> bool:
    """Whether a reference leads back to where it stands."""
    done: set[str] = set()

    def leads_back(target: str, above: frozenset[str]) -> bool:
        if target in above:
            return True
        if target in done:
            return False
        above |= {target}
        if any(leads_back(each, above) for each in _targets(find(schema, target), optional)):
            return True
        done.add(target)
        return False

    # Also from the definitions that nothing refers to.
    starts = {"#", *(target for _, target in _everywhere(schema, ""))}
    return any(leads_back(start, frozenset()) for start in sorted(starts))


def _targets(schema: Any, optional: bool) -> Iterator[str]:
    """Where the references of a schema lead that a value of it has to follow."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield schema["$ref"]
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    for name, inner in _within(schema):
        property_name = name.removeprefix("properties.")
        if optional and property_name != name and property_name not in needed:
            continue
        yield from _targets(inner, optional)

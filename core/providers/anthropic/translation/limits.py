"""How much Anthropic takes of what it has to enforce: the limits over a whole request.

Source: platform.claude.com, structured outputs, "Schema complexity limits" (2026-11): 20 strict
tools; over all strict schemas, of tools and of the answer, 24 optional parameters ("each
parameter not listed in `required`") and 16 with a union type ("that use `anyOf` or type
arrays"). Parameters are counted at every depth (as its refusals count them: inbox-zero#2323).
Above these a schema may still be too complex to be compiled: that limit is not published.
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.contract import LineRejected

MAX_STRICT_TOOLS = 20
MAX_OPTIONAL = 24
MAX_UNIONS = 16

_REASON = "too_complex_schema"


def check_limits(params: dict[str, Any]) -> None:
    """Refuse a request whose strict schemas are too much together. Raises LineRejected.

    `params`: with tools and output_config as they are sent.
    """
    strict = [tool for tool in params.get("tools", ()) if tool.get("strict")]
    form = params.get("output_config", {}).get("format")
    if not strict and form is None:
        return
    if len(strict) > MAX_STRICT_TOOLS:
        raise LineRejected(
            "body.tools",
            _REASON,
            f"{len(strict)} tools are strict; expected at most {MAX_STRICT_TOOLS}: "
            "leave out strict where a call need not be held to its schema.",
        )
    schemas = [tool["input_schema"] for tool in strict] + ([form["schema"]] if form else [])
    optional, unions = 0, 0
    for schema in schemas:
        more = _count(msgspec.json.decode(msgspec.json.encode(schema)))
        optional, unions = optional + more[0], unions + more[1]
    path = "body.tools" if strict else "body.response_format.json_schema.schema"
    if optional > MAX_OPTIONAL:
        raise LineRejected(
            path,
            _REASON,
            f"The strict schemas have {optional} optional parameters in all; expected at most "
            f"{MAX_OPTIONAL}: name more of them in required, or make fewer tools strict.",
        )
    if unions > MAX_UNIONS:
        raise LineRejected(
            path,
            _REASON,
            f"The strict schemas have {unions} parameters of a union type (anyOf, or a list of "
            f"types such as string and null) in all; expected at most {MAX_UNIONS}: leave "
            "optional ones out of required in place of a null, or make fewer tools strict.",
        )


def _count(schema: Any) -> tuple[int, int]:
    """Optional parameters and those of a union type, of a schema and all within it."""
    optional, unions = 0, 0
    ahead = [schema]
    while ahead:
        found = ahead.pop()
        if isinstance(found, list):
            ahead += found
        if not isinstance(found, dict):
            continue
        properties = found.get("properties")
        if isinstance(properties, dict):
            required = found.get("required")
            needed = set(map(str, required)) if isinstance(required, list) else set()
            optional += len(properties.keys() - needed)
            unions += sum(map(_is_union, properties.values()))
            ahead += properties.values()
        for key in ("$defs", "definitions"):
            if isinstance(found.get(key), dict):
                ahead += found[key].values()
        ahead += [found[key] for key in ("items", "anyOf", "allOf") if key in found]
    return optional, unions


def _is_union(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    types = schema.get("type")
    return "anyOf" in schema or (isinstance(types, list) and len(types) > 1)

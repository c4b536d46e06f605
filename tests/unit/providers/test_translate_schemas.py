"""JSON schemas that are to be enforced: what is taken, changed, lost and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import transform_schema
from msgspec import Raw

from core.providers.anthropic.translation.schemas import translate_schema
from core.providers.contract import LineRejected
from core.providers.translation.report import Report


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def check(schema: Any) -> tuple[Any, list[tuple[str, str, str]]]:
    """The schema as the lenient mode sends it, and its notes, the strict mode tried too."""
    raw = Raw(json.dumps(schema).encode())
    report = Report(lenient=True)
    sent = json.loads(bytes(translate_schema(raw, "$", report)))
    notes = [(note.field, note.reason, note.weight) for note in report.notes]
    if any(note.weight == "lost" for note in report.notes):
        with pytest.raises(LineRejected):
            translate_schema(raw, "$", Report(lenient=False))
    else:
        assert json.loads(bytes(translate_schema(raw, "$", Report(lenient=False)))) == sent
    return sent, notes


TEXT = {"type": "string"}

TAKEN: list[Any] = [
    closed(),
    closed(a=TEXT, b={"type": ["integer", "null"], "description": "b", "default": 5}),
    closed(a={"enum": ["x", 1, None, True]}, b={"const": 1.5}),
    closed(a={"type": "string", "format": "date-time", "pattern": "^a+$"}),
    closed(a={"type": "array", "items": TEXT, "minItems": 1}),
    closed(a={"anyOf": [TEXT, {"type": "null"}]}, b={"allOf": [TEXT, {"enum": ["b"]}]}),
    closed(minimum=TEXT, oneOf=TEXT),
    {"$defs": {"a": closed(b=TEXT)}, **closed(a={"$ref": "#/$defs/a"}, b={"$ref": "#/$defs/a"})},
    {"definitions": {"a": TEXT, "b": {"$ref": "#/definitions/a"}}, **closed()},
]


@pytest.mark.parametrize("schema", TAKEN)
def test_what_is_taken_goes_byte_by_byte(schema: Any) -> None:
    raw = Raw(json.dumps(schema, indent=1).encode())
    report = Report(lenient=False)
    assert translate_schema(raw, "$", report) == raw
    assert report.notes == []


LOST: list[tuple[dict[str, Any], str]] = [
    *(
        ({"type": "integer", key: 5}, key)
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    ),
    *(({"type": "string", key: 5}, key) for key in ("minLength", "maxLength")),
    *(
        ({"type": "array", "items": TEXT, key: 2}, key)
        for key in ("minItems", "maxItems", "uniqueItems", "contains", "prefixItems")
    ),
    *(({"anyOf": [TEXT], key: {}}, key) for key in ("not", "if", "then", "else", "oneOf")),
    ({"type": "string", "format": "phone"}, "format"),
    ({"enum": [{"a": 1}]}, "enum"),
    ({"const": [1]}, "const"),
    ({"type": "string", "nullable": True}, "nullable"),
    *(
        ({"type": "string", "pattern": pattern}, "pattern")
        for pattern in (r"^(?=a)", r"(?<!a)b", r"(a)\1", r"\bword\b", r"[a\]]\B")
    ),
    ({"type": "array", "items": [TEXT]}, "items"),
]


@pytest.mark.parametrize(("part", "key"), LOST)
def test_what_cannot_be_enforced_is_lost(part: dict[str, Any], key: str) -> None:
    rest = {name: value for name, value in part.items() if name != key}
    sent, notes = check(closed(a={"type": "array", "items": part}))
    assert sent == closed(a={"type": "array", "items": rest})
    assert notes == [(f"$.properties.a.items.{key}", "unsupported_schema", "lost")]


@pytest.mark.parametrize(
    "part", [{"uniqueItems": False}, {"minLength": 0}, {"minProperties": 0}, {"minItems": 0}]
)
def test_what_asks_for_nothing_is_not_lost(part: dict[str, Any]) -> None:
    sent, notes = check(closed(a=part))
    assert sent == closed(a={"minItems": 0} if "minItems" in part else {})
    assert notes == []


@pytest.mark.parametrize("more", [True, {"type": "string"}, {}])
def test_other_properties_are_lost(more: Any) -> None:
    sent, notes = check({"type": "object", "properties": {"a": TEXT}, "additionalProperties": more})
    assert sent == closed(a=TEXT)
    assert notes == [("$.additionalProperties", "unsupported_schema", "lost")]


def test_an_object_without_properties_is_lost() -> None:
    sent, notes = check(closed(a={"type": "object"}))
    assert sent == closed(a={"type": "object", "additionalProperties": False})
    assert notes == [("$.properties.a", "unsupported_schema", "lost")]


def test_objects_are_closed() -> None:
    """Whatever fits the closed schema fits the open one: nothing is lost."""
    sent, notes = check({"type": ["object", "null"], "properties": {"a": TEXT}})
    assert sent == closed(a=TEXT) | {"type": ["object", "null"]}
    assert notes == [("$", "changed", "harmless")]


def test_any_of_takes_the_place_of_one_of() -> None:
    sent, notes = check(closed(a={"oneOf": [TEXT, {"type": "integer", "minimum": 1}]}))
    assert sent == closed(a={"anyOf": [TEXT, {"type": "integer"}]})
    assert notes == [
        ("$.properties.a.oneOf", "changed", "harmless"),
        ("$.properties.a.anyOf[1].minimum", "unsupported_schema", "lost"),
    ]


def test_a_pattern_that_only_looks_like_more_is_taken() -> None:
    schema = closed(a={"type": "string", "pattern": r"^\\\\b[\\b(?=]{1,3}(?:x|\\d)$"})
    assert check(schema) == (schema, [])


def test_all_of_one_schema_is_that_schema() -> None:
    """As programs write it to put a title or a default beside a reference."""
    inner = {"$defs": {"B": {"type": "string", "title": "B"}}}
    given = {"allOf": [{"$ref": "#/$defs/B"}], "default": "x", "description": "b"}
    sent, notes = check(inner | closed(b=given))
    assert sent == inner | closed(b={"default": "x", "description": "b", "$ref": "#/$defs/B"})
    assert notes == [("$.properties.b.allOf", "changed", "harmless")]
    sent, _ = check(closed(b={"allOf": [{"type": "string", "title": "in"}], "title": "out"}))
    assert sent == closed(b={"type": "string", "title": "out"})


def test_annotations_are_told_or_left_out() -> None:
    told = {"type": "string", "examples": ["x", 1]}
    kinds = {"anyOf": [TEXT, {"type": "null"}], "discriminator": {"propertyName": "kind"}}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | closed(a=told, b=kinds)
    sent, notes = check(schema)
    assert sent == closed(
        a={"type": "string", "description": '{examples: ["x", 1]}'},
        b={"anyOf": [TEXT, {"type": "null"}]},
    )
    assert notes == [
        ("$.properties.a.examples", "changed", "harmless"),
        ("$.properties.b.discriminator", "ignored", "harmless"),
    ]
    sent, _ = check(closed(a=told | {"description": "An a."}))
    assert sent["properties"]["a"]["description"] == 'An a.\n\n{examples: ["x", 1]}'


REFUSED: list[Any] = [
    closed(a={"$ref": "#/$defs/missing"}),
    {"$defs": {"b": TEXT}, **closed(a={"allOf": [{"$ref": "#/$defs/b"}, TEXT]})},
    closed(a={"$ref": "https://example.org/schema"}),
    closed(a={"$ref": 5}),
    closed(a={"$ref": "#"}),
    {"$defs": {"a": closed(b={"$ref": "#/$defs/a"})}, **closed(a={"$ref": "#/$defs/a"})},
    {
        "$defs": {
            "a": {"anyOf": [{"$ref": "#/$defs/b"}, TEXT]},
            "b": {"type": "array", "items": {"$ref": "#/$defs/a"}},
        },
        **closed(a={"$ref": "#/$defs/a"}),
    },
]


@pytest.mark.parametrize("schema", REFUSED)
@pytest.mark.parametrize("lenient", [False, True])
def test_what_no_mode_sends(schema: Any, lenient: bool) -> None:
    with pytest.raises(LineRejected) as caught:
        translate_schema(Raw(json.dumps(schema).encode()), "$", Report(lenient))
    assert caught.value.reason == "unsupported_schema"


def nested(levels: int) -> Raw:
    return Raw(b'{"anyOf":[' * levels + b"{}" + b"]}" * levels)


@pytest.mark.parametrize("levels", [100, 240])
def test_deep_schemas(levels: int) -> None:
    assert translate_schema(nested(levels), "$", Report(lenient=False)) == nested(levels)


@pytest.mark.parametrize("levels", [490, 100_000])
def test_schemas_that_are_too_deep(levels: int) -> None:
    with pytest.raises(LineRejected) as caught:
        translate_schema(nested(levels), "$", Report(lenient=True))
    assert caught.value.reason == "unsupported_schema"


def test_numbers_stay_as_they_are_written() -> None:
    schema = b'{"type":"object","properties":{"a":{"enum":[1.0,1E3,9007199254740993]}}}'
    sent = translate_schema(Raw(schema), "$", Report(lenient=False))
    assert b"[1.0,1E3,9007199254740993]" in bytes(sent)


def without_descriptions(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: without_descriptions(value)
            for key, value in schema.items()
            if key != "description"
        }
    return [without_descriptions(each) for each in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("part", [part for part, key in LOST if key not in ("oneOf", "items")])
def test_the_lenient_mode_sends_what_the_vendors_own_helper_makes(part: dict[str, Any]) -> None:
    # The helper wants a type beside what we leave of these.
    part = {"type": "string"} | part if not part.keys() & {"type", "anyOf"} else part
    sent, _ = check(closed(a=part))
    assert sent == without_descriptions(transform_schema(closed(a=part)))

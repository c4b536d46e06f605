"""Chat completions to Gemini's requests."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from core.providers.catalogue import find_model
from core.providers.contract import LineRejected
from core.providers.gemini.request import check_request, translate_request
from tests.support.providers.chat_requests import (
    PDF,
    PNG,
    WEATHER,
    assistant,
    call,
    calling,
    encode,
    function,
    image,
    request,
    tool,
    user,
)
from tests.support.providers.gemini_requests import (
    NEW,
    NEW_PRO,
    OLD,
    OLD_PRO,
    OLDEST,
    assert_lost,
    assert_refused,
    config_of,
    translate,
    validate,
)
from tests.support.providers.grammar import Grammar

DECLARED = {
    "name": "weather",
    "description": "The weather.",
    "parametersJsonSchema": WEATHER["function"]["parameters"],  # type: ignore[index]
}


def contents(*messages: Any, model: str = NEW) -> list[dict[str, Any]]:
    made, notes = translate(request(*messages), model)
    assert notes == []
    found: list[dict[str, Any]] = made["contents"]
    return found


def test_the_common_request() -> None:
    made, notes = translate(
        request(
            {"role": "system", "content": "be brief"},
            user("hi"),
            assistant("yes?"),
            user("why"),
            temperature=0.30,
        )
    )
    assert not notes
    assert made == {
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"text": "yes?"}]},
            {"role": "user", "parts": [{"text": "why"}]},
        ],
        "generationConfig": {"maxOutputTokens": 2000, "temperature": 0.3},
    }


def test_the_short_way_leads_where_the_long_one_does() -> None:
    body = request({"role": "system", "content": "be brief"}, user("hi"), temperature=0.5)
    # One more field, without effect, and the long way is taken.
    long, notes = translate(body | {"response_format": {"type": "text"}})
    assert (long, notes) == translate(body)


def test_without_options_there_is_no_config() -> None:
    assert translate({"model": "gemini/m", "messages": [user()]})[0] == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}]
    }


@pytest.mark.parametrize(
    ("part", "made"),
    [
        ({"type": "text", "text": "a"}, {"text": "a"}),
        (image(url=PNG), {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}),
        (
            image(url=PNG.replace("png", "jpg"), detail="auto"),
            {"inlineData": {"mimeType": "image/jpeg", "data": "iVBORw0KGgo="}},
        ),
        (
            image(url="https://x.test/a.JPG?size=1"),
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.test/a.JPG?size=1"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_data": PDF}},
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjQ="}},
        ),
        (
            {"type": "file", "file": {"file_data": "JVBERi0xLjQ="}},
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjQ="}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/csv;base64,YSxi"}},
            {"inlineData": {"mimeType": "text/csv", "data": "YSxi"}},
        ),
    ],
)
def test_parts_of_a_users_message(part: dict[str, Any], made: dict[str, Any]) -> None:
    assert contents(user([part])) == [{"role": "user", "parts": [made]}]


def test_messages_of_one_side_are_joined() -> None:
    made = contents(
        user("a"), user("b"), assistant("c"), assistant([{"type": "text", "text": "d"}]), user("e")
    )
    assert [(each["role"], len(each["parts"])) for each in made] == [
        ("user", 2),
        ("model", 2),
        ("user", 1),
    ]


def test_calls_and_their_results() -> None:
    made = contents(
        user(),
        assistant(
            "I look.",
            tool_calls=[call("c1", '{"n": 12345678901234567890, "x":\n 1.0}'), call("c2")],
        ),
        tool("c2", '{"degrees": 1e2}'),
        tool("c1", [{"type": "text", "text": "cold"}]),
        user("so?"),
        model=OLD,
    )
    assert made[1]["parts"][0] == {"text": "I look."}
    first = made[1]["parts"][1]["functionCall"]
    assert first == {"id": "c1", "name": "weather", "args": {"n": 12345678901234567890, "x": 1.0}}
    assert made[2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "c2", "name": "weather", "response": {"degrees": 100.0}}},
            {"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "cold"}}},
        ],
    }
    assert made[3] == {"role": "user", "parts": [{"text": "so?"}]}


def test_numbers_of_a_call_stay_as_they_were_written() -> None:
    body = request(user(), calling(call("c1", '{"n":1.10}')), tool("c1"))
    assert b'"args":{"n":1.10}' in translate_request(NEW, encode(body))[0]


def test_signatures_of_calls() -> None:
    """From version 3 on, Gemini wants them back, and a special one with calls of others."""
    signed = call("c1") | {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    for model, calls, signatures in (
        (NEW, [signed, call("c2")], ["c2ln", None]),
        (NEW, [call("c1"), call("c2")], ["skip_thought_signature_validator", None]),
        (OLD, [signed, call("c2")], ["c2ln", None]),
        (OLD, [call("c1"), call("c2")], [None, None]),
    ):
        made = contents(
            user(), assistant(None, tool_calls=calls), tool("c1"), tool("c2"), model=model
        )
        assert [part.get("thoughtSignature") for part in made[1]["parts"]] == signatures


def test_what_a_message_of_the_assistant_may_hold() -> None:
    refused = assistant(None, refusal="No.", annotations=[])
    parts = assistant([{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}])
    made = contents(user(), refused, user(), parts, user())
    assert made[1]["parts"] == [{"text": "No."}]
    assert made[3]["parts"] == [{"text": "a"}, {"text": "b"}]
    _, notes = translate(request(user(), assistant(reasoning_content="hm"), user()))
    assert notes == [("body.messages[1].reasoning_content", "ignored")]


def test_instructions_come_first_wherever_they_stand() -> None:
    later = {"role": "developer", "content": [{"type": "text", "text": "b"}]}
    first = {"role": "system", "content": "a"}
    made, notes = translate(request(first, user(), assistant(), user(), later))
    assert made["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert notes == [("body.messages[4]", "changed")]


OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 2}, {"temperature": 2}),
    ({"top_p": 0.5}, {"topP": 0.5}),
    ({"seed": 7}, {"seed": 7}),
    ({"n": 3}, {"candidateCount": 3}),
    ({"frequency_penalty": -1.5}, {"frequencyPenalty": -1.5}),
    ({"presence_penalty": 0.5}, {"presencePenalty": 0.5}),
    ({"stop": "END"}, {"stopSequences": ["END"]}),
    ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
    ({"response_format": {"type": "text"}}, {}),
    ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
    ({"seed": None, "tools": None, "stop": None}, {}),
]


@pytest.mark.parametrize(("options", "made"), OPTIONS)
def test_options(options: dict[str, Any], made: dict[str, Any]) -> None:
    assert config_of(**options) == made


def test_limits() -> None:
    made, notes = translate(request(max_completion_tokens=7))
    assert made["generationConfig"] == {"maxOutputTokens": 7}
    assert notes == [("body.max_tokens", "ignored")]


@pytest.mark.parametrize(
    ("model", "effort", "made"),
    [
        (NEW, "minimal", {"thinkingLevel": "MINIMAL"}),
        (NEW, "low", {"thinkingLevel": "LOW"}),
        (NEW, "medium", {"thinkingLevel": "MEDIUM"}),
        (NEW, "high", {"thinkingLevel": "HIGH"}),
        (NEW_PRO, "minimal", {"thinkingLevel": "LOW"}),
        ("gemini-flash-latest", "low", {"thinkingLevel": "LOW"}),
        (OLD, "none", {"thinkingBudget": 0}),
        (OLD, "minimal", {"thinkingBudget": 1024}),
        # Of the 2,000 tokens of the request a quarter is for the answer.
        (OLD_PRO, "high", {"thinkingBudget": 1500}),
    ],
)
def test_efforts(model: str, effort: str, made: dict[str, Any]) -> None:
    assert config_of(model, reasoning_effort=effort) == {"thinkingConfig": made}


@pytest.mark.parametrize(
    ("model", "limit", "budget"),
    [(OLD_PRO, 40_000, 24_576), (OLD_PRO, 4000, 3000), (OLD_PRO, 171, 128), (OLD, 4, 3)],
)
def test_a_budget_leaves_room_for_an_answer(model: str, limit: int, budget: int) -> None:
    made, _ = translate(request(reasoning_effort="high", max_tokens=limit), model)
    assert made["generationConfig"]["thinkingConfig"] == {"thinkingBudget": budget}


def test_a_limit_too_small_for_any_thinking() -> None:
    small = request(reasoning_effort="low", max_tokens=170)
    assert_lost(small, "body.reasoning_effort", OLD_PRO, reason="unsupported_value")


@pytest.mark.parametrize(
    ("model", "effort", "reason"),
    [
        (NEW, "none", "unsupported_value"),
        (NEW, "xhigh", "unsupported_value"),
        (OLD_PRO, "none", "unsupported_value"),
        (OLDEST, "low", "unsupported_parameter"),
    ],
)
def test_efforts_that_a_model_lacks(model: str, effort: str, reason: str) -> None:
    made = assert_lost(
        request(reasoning_effort=effort), "body.reasoning_effort", model, reason=reason
    )
    assert "thinkingConfig" not in made["generationConfig"]


def test_a_model_that_never_thinks_needs_not_be_stopped() -> None:
    assert config_of(OLDEST, reasoning_effort="none") == {}


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        (None, None),
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (function(name="weather"), {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_tools_and_the_choice_among_them(choice: Any, made: dict[str, Any] | None) -> None:
    options = {"tool_choice": choice} if choice else {}
    found, notes = translate(request(tools=[WEATHER], parallel_tool_calls=True, **options))
    assert not notes
    assert found["tools"] == [{"functionDeclarations": [DECLARED]}]
    assert found.get("toolConfig") == (made and {"functionCallingConfig": made})


def test_strict_functions_are_validated() -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
    made, _ = translate(request(tools=[strict, function(name="f")]))
    assert made["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert made["tools"][0]["functionDeclarations"] == [DECLARED, {"name": "f"}]
    made, _ = translate(request(tools=[strict], tool_choice="required"))
    assert made["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


def named(name: str) -> dict[str, Any]:
    return function(name=name)


def test_names_that_functions_may_have() -> None:
    tools = [named(name) for name in ("_a", "ns:a.b-c", "a" * 128)]
    made, _ = translate(request(tools=tools))
    assert len(made["tools"][0]["functionDeclarations"]) == 3


LIST = {"properties": {"next": {"$ref": "#/$defs/list"}}, "required": ["next"]}
BAD_REFERENCES: list[tuple[str, Any]] = [
    (".properties.a.$ref", {"properties": {"a": {"$ref": "#/$defs/missing"}}}),
    (".items.$ref", {"items": {"$ref": "https://example.org/schema.json"}}),
    (".items.$ref", {"items": {"$ref": "other.json"}}),
    ("", {"$ref": "#/$defs/list", "$defs": {"list": LIST}}),
    # Nullable is not enough.
    (
        "",
        {
            "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["next"],
        },
    ),
    (".definitions", {"definitions": {"a": {}}, "$defs": {"a": {}}}),
]


def described(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, **more}}


SCHEMAS: list[tuple[Any, Any, list[str]]] = [
    ({"type": "object"}, {"type": "object"}, []),
    (
        {"$schema": "x", "type": ["string", "null"], "default": "a", "enum": ["a", 1]},
        {"type": ["string", "null"], "enum": ["a", 1]},
        [],
    ),
    (
        {"properties": {"pattern": {"const": 1}}},
        {"properties": {"pattern": {"enum": [1]}}},
        [".properties.pattern.const"],
    ),
    ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}, [".oneOf"]),
    (
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {}}},
        {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {}}},
        [".allOf"],
    ),
    (
        {
            "properties": {"a": {"$ref": "#/definitions/a"}},
            "definitions": {"a": {"items": {"$ref": "#/definitions/b"}}, "b": {}},
        },
        {
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {}},
        },
        [".definitions"],
    ),
    # It may contain itself where it need not.
    ({"properties": {"next": {"$ref": "#"}}}, {"properties": {"next": {"$ref": "#"}}}, []),
    (
        {"items": {"$ref": "#/$defs/a", "description": "d"}, "$defs": {"a": {"type": "null"}}},
        {
            "items": {"anyOf": [{"$ref": "#/$defs/a"}], "description": "d"},
            "$defs": {"a": {"type": "null"}},
        },
        [".items.$ref"],
    ),
    ({"minLength": 0, "uniqueItems": False}, {}, []),
    ({"additionalProperties": {"type": "null"}}, {"additionalProperties": {"type": "null"}}, []),
]


@pytest.mark.parametrize(("schema", "made", "changed"), SCHEMAS)
def test_schemas(schema: Any, made: Any, changed: list[str]) -> None:
    found, notes = translate(request(response_format=described(schema, strict=True)))
    config = found["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == made
    path = "body.response_format.json_schema.schema"
    assert notes == [(path + field, "changed") for field in changed]


@pytest.mark.parametrize(
    ("schema", "field", "made"),
    [
        ({"pattern": "^a"}, ".pattern", {}),
        (
            {"properties": {"a": {"maxLength": 3}}},
            ".properties.a.maxLength",
            {"properties": {"a": {}}},
        ),
        ({"enum": [True]}, ".enum", {}),
        ({"enum": ["a", None]}, ".enum", {}),
        ({"const": {"a": 1}}, ".enum", {}),
        ({"allOf": [{}, {}]}, ".allOf", {}),
        ({"anyOf": [{"not": {}}]}, ".anyOf[0].not", {"anyOf": [{}]}),
        ({"oneOf": [{}], "anyOf": [{}]}, ".oneOf", {"anyOf": [{}]}),
        ({"minLength": 1}, ".minLength", {}),
    ],
)
def test_what_no_schema_can_enforce(schema: Any, field: str, made: Any) -> None:
    path = "body.response_format.json_schema.schema"
    body = request(response_format=described(schema))
    found = assert_lost(body, path + field, reason="unsupported_schema")
    assert found["generationConfig"]["responseJsonSchema"] == made


def test_a_schema_is_told_what_it_is_for() -> None:
    config = config_of(response_format=described({"type": "object"}, description="d"))
    assert config["responseJsonSchema"] == {"type": "object", "description": "d"}
    both = described({"description": "own"}, description="d")
    path = "body.response_format.json_schema.description"
    assert_lost(request(response_format=both), path)


def test_schemas_stay_as_they_were_written() -> None:
    raw = b'{"type": "number", "maximum": 1e30, "minimum": 1.10}'
    body = encode(request(response_format=described("SCHEMA"))).replace(b'"SCHEMA"', raw)
    assert raw in translate_request(NEW, body)[0]


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("body.logprobs", {"logprobs": True}),
        ("body.logit_bias", {"logit_bias": {"1": 2}}),
        ("body.modalities", {"modalities": ["audio"]}),
        ("body.web_search_options", {"web_search_options": {}}),
        ("body.surprise", {"surprise": 1}),
        ("body.functions", {"functions": []}),
        ("body.response_format.odd", {"response_format": {"type": "text", "odd": 1}}),
        ("body.response_format.type", {"response_format": {"type": "grammar"}}),
        ("body.parallel_tool_calls", {"parallel_tool_calls": False, "tools": [WEATHER]}),
        ("body.tools[0].function.odd", {"tools": [function(name="f", odd=1)]}),
        ("body.messages[0].name", {"messages": [user() | {"name": "Bob"}]}),
    ],
)
def test_what_gets_lost(field: str, options: dict[str, Any]) -> None:
    assert_lost(request() | options, field)


@pytest.mark.parametrize("field", ["user", "metadata", "store", "service_tier", "prompt_cache_key"])
def test_what_has_no_effect(field: str) -> None:
    _, notes = translate(request(**{field: "x"}))
    assert notes == [(f"body.{field}", "ignored")]


@pytest.mark.parametrize(
    ("field", "value"),
    [("logprobs", False), ("top_logprobs", 0), ("logit_bias", {}), ("modalities", ["text"])],
)
def test_what_asks_for_nothing(field: str, value: Any) -> None:
    _, notes = translate(request(**{field: value}))
    assert notes == [(f"body.{field}", "ignored")]


def test_calls_as_older_programs_write_them() -> None:
    """No arguments as an empty text, and the function's name on its result."""
    said = calling(call("c1", ""))
    made, notes = translate(request(user(), said, tool("c1") | {"name": "weather"}))
    assert made["contents"][1]["parts"][0]["functionCall"]["args"] == {}
    assert notes == []


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("body.messages[1].role", "unsupported_prefill", {"messages": [user(), assistant()]}),
    (
        "body.messages[0].content[0].image_url.url",
        "unsupported_url",
        {"messages": [user([image(url="https://x.test/a")])]},
    ),
    (
        "body.messages[0].content[0].input_audio.format",
        "unsupported_media_type",
        {
            "messages": [
                user([{"type": "input_audio", "input_audio": {"data": "A", "format": "au"}}])
            ]
        },
    ),
    ("body.temperature", "wrong_type", {"temperature": 2.5}),
    ("body.n", "wrong_type", {"n": 9}),
    ("body.stop", "unsupported_value", {"stop": list("abcdef")}),
    ("body.stop", "unsupported_value", {"stop": ""}),
    *(
        ("body.tools[0].function.name", "unsupported_value", {"tools": [named(name)]})
        for name in ("", "1st", "two words", "a" * 129, "ä")
    ),
    *(
        (f"{path}{field}", "unsupported_schema", options)
        for field, schema in BAD_REFERENCES
        for path, options in (
            ("body.response_format.json_schema.schema", {"response_format": described(schema)}),
            # A tool's parameters are read by Gemini even where calls are not held to them.
            (
                "body.tools[0].function.parameters",
                {"tools": [function(name="f", parameters=schema)]},
            ),
        )
    ),
]


@pytest.mark.parametrize(("field", "reason", "changes"), REFUSED)
def test_what_no_mode_sends(field: str, reason: str, changes: dict[str, Any]) -> None:
    assert_refused(request() | changes, field, reason)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":"\xff', b"[" * 100_000])
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(LineRejected):
        translate_request(NEW, body)
    (note,) = check_request(NEW, body)
    assert (note.field, note.weight) == ("body", "refused")


def test_schemas_without_end_are_refused() -> None:
    deep = json.dumps({"type": "object"})
    for _ in range(60):
        deep = f'{{"items":{deep}}}'
    body = request(response_format=described(json.loads(deep)))
    translate(body)
    wide = encode(request(response_format=described("X"))).replace(
        b'"X"', b'{"items":' * 5000 + b"{}" + b"}" * 5000
    )
    with pytest.raises(LineRejected):
        translate_request(NEW, wide)
    path = "body.response_format.json_schema.schema"
    for lenient in (False, True):
        large = encode(request(response_format=described("X"))).replace(
            b'"X"', b'{"maximum":1e400}'
        )
        with pytest.raises(LineRejected) as caught:
            translate_request(NEW, large, lenient=lenient)
        assert (caught.value.field, caught.value.reason) == (path, "unsupported_schema")


@pytest.mark.long
def test_thousands_of_requests() -> None:
    """Whatever is not refused is taken by the SDK's types and by the sandbox."""
    grammar = Grammar(20261124)
    seen: Counter[str] = Counter()
    for number in range(1500):
        _, body = grammar.request()
        model = find_model("gemini", (NEW, OLD, NEW_PRO)[number % 3]).id
        encoded = encode(body)
        notes = check_request(model, encoded)
        weights = {note.weight for note in notes}
        for lenient in (False, True):
            reasons = {"refused"} if lenient else {"refused", "lost"}
            if weights & reasons:
                with pytest.raises(LineRejected) as caught:
                    translate_request(model, encoded, lenient=lenient)
                blamed = [(n.field, n.reason) for n in notes if n.weight in reasons]
                assert (caught.value.field, caught.value.reason) in blamed
                seen[caught.value.reason] += 1
                continue
            made, told = translate_request(model, encoded, lenient=lenient)
            assert list(told) == list(notes)
            validate(made, model)
            seen["lenient" if lenient else "strict"] += 1
    assert seen["strict"] > 200
    assert seen["lenient"] > 500


def test_a_link_in_place_of_the_data_of_a_file_is_told_what_it_has_to_be() -> None:
    linked = {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}}
    with pytest.raises(LineRejected, match=r"file_data has to be a base64 data URL") as refused:
        translate(request(user([linked])))
    assert refused.value.reason == "unsupported_url"

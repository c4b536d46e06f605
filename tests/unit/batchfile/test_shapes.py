"""Lines that are alike but for their texts: checked once, with what a check of each finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from pydantic import SecretStr

from core.batchfile import (
    Finding,
    LineScanner,
    Plain,
    Problem,
    Rules,
    Summary,
    encode_totals,
    scanner,
    shapes,
)
from core.providers import known_providers
from core.providers.translation import PlainRequest
from core.settings import ProviderAccess, Settings
from services.gateway.checks import upload_rules
from tests.fuzz.budget import examples

MakeLine = Callable[..., bytes]

SONNET = "anthropic/claude-4.5-sonnet"
CLAUDE: dict[str, Any] = {
    "model": SONNET,
    "messages": [{"role": "user", "content": "Hi"}],
    "max_completion_tokens": 50,
}
OPEN_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "now", "parameters": OPEN_SCHEMA}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": OPEN_SCHEMA}}


@pytest.fixture(scope="module")
def real() -> Rules:
    """The rules of an installation, with every short way that it has."""
    nobody = SecretStr("none")
    access = ProviderAccess(anthropic_api_key=nobody, openai_api_key=nobody, gemini_api_key=nobody)
    return upload_rules(known_providers(access, Settings()))


def scan(
    rules: Rules, lines: Sequence[bytes], at_once: int = 1 << 20
) -> tuple[bytes, list[Problem], Summary]:
    scanner = LineScanner(rules, max_line_bytes=1 << 20, max_lines=100_000)
    content = b"".join(line + b"\n" for line in lines)
    found = [
        each
        for start in range(0, len(content), at_once)
        for each in scanner.feed(content[start : start + at_once])
    ]
    last, summary = scanner.finish()
    found.append(last)
    problems = [problem for each in found for problem in each.problems]
    return b"".join(each.index for each in found), problems, summary


def assert_same(rules: Rules, lines: Sequence[bytes]) -> Summary:
    """With the short ways comes out what comes out without them, however it is cut."""
    long_way = scan(replace(rules, plain={}, own_plain={}), lines)
    for at_once in (1 << 20, 100):
        index, problems, summary = scan(rules, lines, at_once)
        assert index == long_way[0]
        assert problems == long_way[1]
        assert summary.warnings == long_way[2].warnings
        assert summary.groups == long_way[2].groups
        assert encode_totals(summary.totals) == encode_totals(long_way[2].totals)
        assert list(summary.duplicates.lines) == list(long_way[2].duplicates.lines)
    return long_way[2]


texts = st.sampled_from(["Hi", 'He said "go"', "   ", "é", "\\", "", "a" * 300])
roles = st.sampled_from(["user", "assistant", "system"])
messages = st.one_of(
    st.just([{"role": "user", "content": "Hi"}]),
    st.lists(st.fixed_dictionaries({"role": roles, "content": texts}), min_size=1, max_size=3),
)
options: dict[str, st.SearchStrategy[Any]] = {
    "max_completion_tokens": st.sampled_from([1, 50, 10_000_000, None]),
    "max_tokens": st.sampled_from([7, None]),
    "temperature": st.sampled_from([0.3, 1.5, 9, None]),
    "tools": st.sampled_from([[], [TOOL], [TOOL, TOOL], None]),
    "response_format": st.sampled_from([FORMAT, {"type": "text"}]),
    "reasoning_effort": st.sampled_from(["low", "odd"]),
    "stream": st.sampled_from([None, False, True]),
    "n": st.sampled_from([1, 2]),
}
models = st.sampled_from([SONNET, "openai/gpt-4.1", "openai/o3", "gemini/gemini-3.8-flash"])
bodies = st.fixed_dictionaries({"model": models, "messages": messages}, optional=options)
own = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["claude-4.5-sonnet", "claude-odd"]),
        "messages": messages,
        "max_tokens": st.sampled_from([5, 0, 10_000_000]),
    },
    optional={
        "system": texts,
        "betas": st.sampled_from([["one"], []]),
        "tools": st.sampled_from([[{"name": "a", "input_schema": {}}], [{"type": "web_search"}]]),
        "temperature": st.sampled_from([0.3, 9]),
        "metadata": st.just({"user_id": "a"}),
    },
)


def encoded(line: dict[str, Any], doubled: str) -> bytes:
    raw = json.dumps(line)
    if doubled in line.get("body", line.get("params", {})):
        # The first one of its kind is a member of the body.
        at = raw.index(f'"{doubled}": ')
        raw = f'{raw[:at]}"{doubled}": null, {raw[at:]}'
    return raw.encode()


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(bodies, st.sampled_from(["", "max_tokens", "tools"])), max_size=12))
def test_chat_completions_are_found_as_by_looking_at_each(
    real: Rules, drawn: list[tuple[dict[str, Any], str]]
) -> None:
    lines = [
        encoded(
            {
                "custom_id": f"id-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            },
            doubled,
        )
        for number, (body, doubled) in enumerate(drawn)
    ]
    # Twice, so that each shape is known the second time, its ids included.
    assert_same(real, [*lines, *lines])


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(own, st.sampled_from(["", "system", "tools"])), max_size=12))
def test_requests_in_a_providers_own_form_are_found_as_by_looking_at_each(
    real: Rules, drawn: list[tuple[dict[str, Any], str]]
) -> None:
    lines = [
        encoded({"custom_id": f"id-{number}", "params": params}, doubled)
        for number, (params, doubled) in enumerate(drawn)
    ]
    assert_same(real, [*lines, *lines])


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (b'"max_tokens": 5', b'"max_tokens": 5, "max_tokens": 5', "body.max_tokens"),
        (b', "stream": null', b', "max_tokens": 5', "body.max_tokens"),
        (b'"role": "user"', b'"role": "user", "role": "user"', "body.messages[0].role"),
        (b'"name": "now"', b'"name": "then", "name": "now"', "body.tools[0].function.name"),
    ],
)
def test_a_key_that_comes_twice_is_told_though_its_lines_shape_is_known(
    real: Rules, chat: MakeLine, old: bytes, new: bytes, path: str
) -> None:
    body = {"model": "openai/gpt-4.1", "tools": [TOOL], "max_tokens": 5}
    if b"stream" in old:
        body["stream"] = None
    good = [chat(f"good-{number}", body=body) for number in range(3)]
    bad = [chat(f"bad-{number}", body=body).replace(old, new) for number in range(3)]
    assert old in good[0]
    [warning] = assert_same(real, [*good, *bad]).warnings
    assert (warning.field, warning.line) == (path, 4)
    assert warning.message.endswith("(3 lines; the first)")


def test_a_check_is_asked_once_of_lines_that_are_alike(rules: Rules, chat: MakeLine) -> None:
    asked: list[bytes] = []

    def check(_url: str, _model: str, body: Raw) -> Iterable[Finding]:
        asked.append(bytes(body))
        return (
            [Finding("body.top_p", "ignored", "ignored", "warning")]
            if b"top_p" in asked[-1]
            else ()
        )

    def fits(messages: Sequence[Any]) -> bool:
        return messages[0].content != "odd"

    def line(custom_id: str, text: str, **more: Any) -> bytes:
        body = CLAUDE | {"messages": [{"role": "user", "content": text}]} | more
        return chat(custom_id, provider="anthropic", body=body)

    plain = {"anthropic": Plain(PlainRequest, lambda _body: None, fits)}
    lines = [
        line("examined", "a"),
        line("learned", "b"),
        line("known", "c"),
        line("odd", "odd"),
        line("other limit", "d", max_completion_tokens=51),
        *(line(f"warned-{number}", "e", top_p=0.5) for number in range(3)),
        line("other option", "f", top_p=0.6),
    ]
    _, problems, summary = scan(Rules(rules.providers, {"anthropic": check}, plain), lines)
    assert not problems
    assert [json.loads(body)["messages"][0]["content"] for body in asked] == [
        *("a", "b", "odd", "d", "e", "f")
    ]
    [warning] = summary.warnings
    assert (warning.line, warning.message) == (6, "ignored (4 lines; the first)")


@pytest.mark.parametrize("name", ["_MOST_SHAPES", "_MOST_OPTION_BYTES", "_LONGEST_OPTIONS"])
def test_more_shapes_than_are_kept_change_nothing(
    real: Rules, chat: MakeLine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(shapes, name, 10)
    lines = [
        chat(
            str(number),
            provider="anthropic",
            body=CLAUDE | {"max_completion_tokens": 1 + number // 3 % 15, "temperature": 0.25},
        )
        for number in range(60)
    ]
    assert assert_same(real, lines).groups[0].lines == 60


def test_lines_of_all_sizes_are_counted_as_by_looking_at_each(
    real: Rules, chat: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are summed up at once, of shapes and sizes that take turns."""
    monkeypatch.setattr(scanner, "_LINES_AT_ONCE", 100)
    lines = [
        chat(
            str(number),
            provider="anthropic",
            body=CLAUDE
            | {
                "max_completion_tokens": 1 + number % 3,
                "messages": [{"role": "user", "content": "x" * (1 + number * 37 % 901)}],
            },
        )
        for number in range(450)
    ]
    totals = assert_same(real, lines).totals
    assert sum(each.lines for each in totals) == 450
    assert len(totals) > 10


def test_lines_of_which_no_two_are_alike_are_learned_now_and_then(
    rules: Rules, chat: MakeLine
) -> None:
    asked: list[int] = []

    def check(_url: str, _model: str, body: Raw) -> Iterable[Finding]:
        asked.append(json.loads(bytes(body))["max_completion_tokens"])
        return []

    def line(number: int, limit: int) -> bytes:
        body = CLAUDE | {"max_completion_tokens": limit}
        return chat(f"id-{number}", provider="anthropic", body=body)

    plain = {"anthropic": Plain(PlainRequest, lambda _body: None, lambda _messages: True)}
    odd = [line(number, number + 1) for number in range(1000)]
    alike = [line(number, 5000) for number in range(1000, 2000)]
    _, _, summary = scan(Rules(rules.providers, {"anthropic": check}, plain), [*odd, *odd, *alike])
    assert summary.groups[0].lines == 3000
    # Some of the first lines were known when they came again; the last ones soon were.
    assert 1900 < len([limit for limit in asked if limit < 5000]) < 1990
    assert asked.count(5000) < 65

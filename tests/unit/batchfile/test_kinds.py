"""Lines in the providers' own forms, other endpoints, and lines that name no provider."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from core import endpoints
from core.batchfile import Finding, Rules, decode_request
from tests.unit.batchfile.test_line_checks import found, scan

MESSAGE = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
MODELS = {"gpt-x": ["openai"], "claude-x": ["anthropic"], "both": ["openai", "local"]}


@pytest.fixture(scope="module")
def rules() -> Rules:
    return Rules(
        {
            "openai": endpoints.OPENAI,
            "local": frozenset({endpoints.CHAT_COMPLETIONS}),
            "anthropic": frozenset({endpoints.CHAT_COMPLETIONS, endpoints.MESSAGES}),
            "gemini": frozenset({endpoints.GENERATE_CONTENT}),
        },
        infer=lambda model, url: MODELS.get(model, []),
    )


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def openai(url: str, custom_id: str = "a", **body: Any) -> bytes:
    return line(custom_id=custom_id, method="POST", url=url, body={"model": "gpt-x"} | body)


def message(custom_id: str = "a", **params: Any) -> bytes:
    merged = MESSAGE | params
    kept = {name: value for name, value in merged.items() if value is not ...}
    return line(custom_id=custom_id, params=kept)


CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (endpoints.CHAT_COMPLETIONS, CHAT),
        (endpoints.EMBEDDINGS, {"input": "Hi"}),
        (endpoints.RESPONSES, {"input": "Hi"}),
        (endpoints.RESPONSES, {"input": [{"role": "user", "content": "Hi"}]}),
        (endpoints.RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (endpoints.COMPLETIONS, {"prompt": ""}),
        (endpoints.COMPLETIONS, {"prompt": ["a", "b"]}),
        (endpoints.COMPLETIONS, {"prompt": [[1, 2], [3]]}),
        (endpoints.MODERATIONS, {"input": ["a", "b"]}),
        (endpoints.MODERATIONS, {"input": [{"type": "text", "text": "a"}]}),
        (endpoints.IMAGE_GENERATIONS, {"prompt": "a cat"}),
        (endpoints.IMAGE_EDITS, {"prompt": "a hat", "images": [{"file_id": "file-1"}]}),
    ],
)
def test_a_plain_file_of_each_endpoint(rules: Rules, url: str, body: dict[str, Any]) -> None:
    lines = [openai(url, name, **body) for name in "abc"]
    assert found(rules, *lines) == []
    _, _, summary = scan(rules, b"\n".join(lines))
    assert summary.endpoint == url
    assert [(group.provider, group.model, group.lines) for group in summary.groups] == [
        ("openai", "gpt-x", 3)
    ]


@pytest.mark.parametrize(
    ("url", "body", "field", "reason"),
    [
        (endpoints.RESPONSES, {}, "body.input", "missing_field"),
        (endpoints.RESPONSES, {"input": []}, "body.input", "empty_field"),
        (endpoints.RESPONSES, {"input": ["Hi"]}, "body.input[0]", "wrong_type"),
        (endpoints.COMPLETIONS, {"prompt": ["a", 1]}, "body.prompt", "wrong_type"),
        (endpoints.MODERATIONS, {"input": []}, "body.input", "empty_field"),
        (endpoints.IMAGE_GENERATIONS, {}, "body.prompt", "missing_field"),
        (endpoints.IMAGE_EDITS, {"prompt": "a"}, "body.images", "missing_field"),
        (
            endpoints.RESPONSES,
            {"input": "Hi", "stream": True},
            "body.stream",
            "streaming_unsupported",
        ),
    ],
)
def test_what_an_endpoint_wants(
    rules: Rules, url: str, body: dict[str, Any], field: str, reason: str
) -> None:
    assert found(rules, openai(url, **body)) == [(1, field, reason)]
    good = openai(url, "z", input="x", prompt="x", images=[{}])
    assert found(rules, good, openai(url, **body)) == [(2, field, reason)]


def test_a_moderation_needs_no_model(rules: Rules) -> None:
    infers = replace(rules, infer=lambda model, url: ["openai"])
    bare = line(custom_id="a", method="POST", url=endpoints.MODERATIONS, body={"input": "x"})
    _, _, summary = scan(infers, bare + b"\n" + bare.replace(b'"a"', b'"b"'))
    assert [(group.model, group.lines) for group in summary.groups] == [
        ("omni-moderation-latest", 2)
    ]


def test_anthropics_own_lines(rules: Rules) -> None:
    lines = [message("a"), message("b", thinking={"type": "adaptive"}), message("c")]
    assert found(rules, *lines) == []
    _, _, summary = scan(rules, b"\n".join(lines))
    assert (summary.endpoint, summary.groups[0].provider) == (endpoints.MESSAGES, "anthropic")
    request = decode_request(lines[0])
    assert (request.custom_id, request.url) == ("a", endpoints.MESSAGES)
    assert json.loads(bytes(request.body)) == MESSAGE


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (message("b", model=...), "params.model", "missing_field"),
        (message("b", messages=[]), "params.messages", "empty_field"),
        (message("b", max_tokens=...), "params.max_tokens", "missing_field"),
        (message("b", max_tokens=0), "params.max_tokens", "out_of_range"),
        (message("b", stream=True), "params.stream", "streaming_unsupported"),
        (message("b", model="openai/x"), "params.model", "model_provider_mismatch"),
        (line(params=MESSAGE), "custom_id", "missing_field"),
        (line(custom_id="b", params=[]), "params", "wrong_type"),
    ],
)
def test_what_is_wrong_with_one_of_them(rules: Rules, bad: bytes, field: str, reason: str) -> None:
    assert found(rules, bad) == [(1, field, reason)]
    assert found(rules, message("z"), bad) == [(2, field, reason)]


def test_openais_lines_for_messages(rules: Rules) -> None:
    own = openai(endpoints.MESSAGES, **MESSAGE)
    assert found(rules, own) == []
    # The same endpoint, but not the same form.
    assert found(rules, own, message("b")) == [(2, "params", "kind_mismatch")]
    assert found(rules, message("b"), own) == [(2, "body", "kind_mismatch")]


def test_geminis_own_lines(rules: Rules) -> None:
    lines = [line(key=name, request=CONTENTS) for name in "ab"]
    assert found(rules, *lines) == [
        (1, "request.model", "missing_field"),
        (2, "request.model", "missing_field"),
    ]
    named = replace(rules, default_model="gemini-x")
    assert found(named, *lines) == []
    other = line(key="c", request=CONTENTS | {"model": "models/gemini-y"})
    _, _, summary = scan(named, b"\n".join([*lines, other]))
    assert summary.endpoint == endpoints.GENERATE_CONTENT
    assert [(group.provider, group.model, group.lines) for group in summary.groups] == [
        ("gemini", "gemini-x", 2),
        ("gemini", "models/gemini-y", 1),
    ]
    assert decode_request(lines[1]).custom_id == "b"
    assert found(named, line(request=CONTENTS)) == [(1, "key", "missing_field")]
    assert found(named, line(key="a", request={})) == [(1, "request.contents", "missing_field")]


def test_what_a_providers_check_says_names_the_fields_of_the_line(rules: Rules) -> None:
    def check(url: str, model: str, body: Any) -> list[Finding]:
        return [Finding("body.max_tokens", "too_many", "expected fewer", "error")]

    strict = replace(rules, checks={"anthropic": check}, default_model="gemini-x")
    assert found(strict, message("a"), message("b")) == [
        (1, "params.max_tokens", "too_many"),
        (2, "params.max_tokens", "too_many"),
    ]


def test_a_file_is_of_one_kind(rules: Rules) -> None:
    chat = openai(endpoints.CHAT_COMPLETIONS, **CHAT)
    assert found(rules, chat, message("b")) == [(2, "params", "kind_mismatch")]
    assert found(rules, chat, openai(endpoints.RESPONSES, "b", input="x")) == [
        (2, "url", "url_mismatch")
    ]


@pytest.mark.parametrize(
    ("model", "default", "expected"),
    [
        ("gpt-x", "", "openai"),
        ("gpt-x", "local", "openai"),
        ("nobodys", "local", "local"),
        ("both", "local", "local"),
        ("both", "anthropic", "ambiguous_provider"),
        ("both", "", "ambiguous_provider"),
        ("nobodys", "", "missing_field"),
    ],
)
def test_the_provider_of_a_line_without_one(
    rules: Rules, model: str, default: str, expected: str
) -> None:
    chat = openai(endpoints.CHAT_COMPLETIONS, **CHAT | {"model": model})
    problems, _, summary = scan(replace(rules, default_provider=default), chat)
    if problems:
        assert [problem.reason for problem in problems] == [expected]
        assert "submit FILE --provider" in problems[0].message
    else:
        assert [group.provider for group in summary.groups] == [expected]

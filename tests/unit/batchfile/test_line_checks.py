"""Every check of a line: the field, the reason, and a message that says what was expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.batchfile import (
    NO_GROUP,
    LineScanner,
    Problem,
    Rules,
    Summary,
    decode_request,
    iter_index,
)
from core.endpoints import CHAT_COMPLETIONS, EMBEDDINGS

MakeLine = Callable[..., bytes]


def scan(
    rules: Rules, data: bytes, *, max_line_bytes: int = 1 << 20
) -> tuple[list[Problem], bytes, Summary]:
    scanner = LineScanner(rules, max_line_bytes=max_line_bytes, max_lines=10_000)
    parts = list(scanner.feed(data))
    last, summary = scanner.finish()
    parts.append(last)
    problems = summary.warnings + [problem for part in parts for problem in part.problems]
    problems.sort(key=lambda problem: problem.line)
    return problems, b"".join(part.index for part in parts), summary


def found(rules: Rules, *lines: bytes) -> list[tuple[int, str, str]]:
    problems, index, summary = scan(rules, b"\n".join(lines))
    errors = [problem for problem in problems if problem.severity == "error"]
    assert all("expected" in problem.message for problem in problems)
    flagged = {record.line for record in iter_index(index) if not record.valid}
    assert flagged == {problem.line for problem in errors}
    assert summary.invalid_count == len(flagged)
    return [(problem.line, problem.field, problem.reason) for problem in problems]


def test_valid_lines_have_no_problem(rules: Rules, chat: MakeLine, embedding: MakeLine) -> None:
    assert (
        found(
            rules,
            chat("a"),
            chat("b", provider=..., body={"model": "anthropic/claude-4.5-sonnet"}),
            chat("c", provider=None),
            chat("d", body={"model": "gpt-4.1"}),
            chat("e", body={"model": "ft/of/mine"}),
            chat("f", body={"stream": False}),
            chat("g", body={"stream": None, "anything": {"goes": [1, 2.5, None]}}),
        )
        == []
    )
    assert (
        found(
            rules,
            embedding("a"),
            embedding("b", body={"input": ["x", "y"]}),
            embedding("c", body={"input": [1, 2, 3]}),
            embedding("d", body={"input": [[1, 2], [3]]}),
        )
        == []
    )


FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"custom_id": ...}, "custom_id", "missing_field"),
    ({"custom_id": ""}, "custom_id", "empty_field"),
    ({"custom_id": 7}, "custom_id", "wrong_type"),
    ({"custom_id": None}, "custom_id", "wrong_type"),
    ({"custom_id": "x" * 1025}, "custom_id", "custom_id_too_long"),
    ({"provider": "acme"}, "provider", "unknown_provider"),
    ({"provider": "OpenAI"}, "provider", "unknown_provider"),
    ({"provider": ""}, "provider", "empty_field"),
    ({"provider": ["openai"]}, "provider", "wrong_type"),
    ({"provider": ..., "body": {"model": "gpt-4.1"}}, "provider", "missing_field"),
    ({"provider": ..., "body": {"model": "acme/gpt-4.1"}}, "provider", "missing_field"),
    ({"method": ...}, "method", "missing_field"),
    ({"method": "GET"}, "method", "unsupported_method"),
    ({"method": "post"}, "method", "unsupported_method"),
    ({"method": True}, "method", "wrong_type"),
    ({"url": ...}, "url", "missing_field"),
    ({"url": "/v1/videos"}, "url", "unsupported_url"),
    ({"url": 1}, "url", "wrong_type"),
    ({"body": ...}, "body", "missing_field"),
    ({"body": []}, "body", "wrong_type"),
    ({"body": "text"}, "body", "wrong_type"),
    ({"body": {"model": ...}}, "body.model", "missing_field"),
    ({"body": {"model": ""}}, "body.model", "empty_field"),
    ({"body": {"model": "openai/"}}, "body.model", "empty_field"),
    ({"body": {"model": "m" * 257}}, "body.model", "model_too_long"),
    ({"body": {"model": 4}}, "body.model", "wrong_type"),
    ({"body": {"model": "anthropic/x"}}, "body.model", "model_provider_mismatch"),
    ({"body": {"messages": ...}}, "body.messages", "missing_field"),
    ({"body": {"messages": []}}, "body.messages", "empty_field"),
    ({"body": {"messages": "Hi"}}, "body.messages", "wrong_type"),
    ({"body": {"messages": {}}}, "body.messages", "wrong_type"),
    ({"body": {"messages": [{}, "Hi"]}}, "body.messages[1]", "wrong_type"),
    ({"body": {"stream": True}}, "body.stream", "streaming_unsupported"),
    ({"body": {"stream": "yes"}}, "body.stream", "wrong_type"),
]


@pytest.mark.parametrize(("fields", "field", "reason"), FIELDS)
def test_a_bad_field_of_a_chat_line(
    rules: Rules, chat: MakeLine, fields: dict[str, Any], field: str, reason: str
) -> None:
    bad = chat(**{"custom_id": "bad", **fields})
    assert found(rules, bad) == [(1, field, reason)]
    assert found(rules, chat("first"), bad, chat("last")) == [(2, field, reason)]


EMBEDDING_INPUTS: list[tuple[Any, str, str]] = [
    (..., "body.input", "missing_field"),
    ("", "body.input", "empty_field"),
    ([], "body.input", "empty_field"),
    (["a", ""], "body.input[1]", "empty_field"),
    ([[1], []], "body.input[1]", "empty_field"),
    (5, "body.input", "wrong_type"),
    ({}, "body.input", "wrong_type"),
    (None, "body.input", "wrong_type"),
    (["a", 1], "body.input", "wrong_type"),
    ([1, [2]], "body.input", "wrong_type"),
    ([1.5], "body.input[0]", "wrong_type"),
    ([-1], "body.input[0]", "wrong_type"),
    ([["a"]], "body.input[0][0]", "wrong_type"),
    ([True], "body.input[0]", "wrong_type"),
]


@pytest.mark.parametrize(("value", "field", "reason"), EMBEDDING_INPUTS)
def test_a_bad_input_of_an_embeddings_line(
    rules: Rules, embedding: MakeLine, value: object, field: str, reason: str
) -> None:
    bad = embedding("bad", body={"input": value})
    assert found(rules, bad) == [(1, field, reason)]
    assert found(rules, embedding("first"), bad) == [(2, field, reason)]


def test_a_provider_that_lacks_the_endpoint(rules: Rules, embedding: MakeLine) -> None:
    stated = embedding("a", provider="anthropic")
    by_prefix = embedding("b", provider=..., body={"model": "anthropic/claude"})
    assert found(rules, embedding("first"), stated, by_prefix) == [
        (2, "url", "endpoint_not_supported"),
        (3, "url", "endpoint_not_supported"),
    ]


def test_a_url_unlike_that_of_the_first_valid_line(
    rules: Rules, chat: MakeLine, embedding: MakeLine
) -> None:
    lines = [embedding("a", method="GET"), chat("b"), embedding("c"), chat("d")]
    assert found(rules, *lines) == [
        (1, "method", "unsupported_method"),
        (3, "url", "url_mismatch"),
    ]
    _, _, summary = scan(rules, b"\n".join(lines))
    assert summary.endpoint == CHAT_COMPLETIONS
    _, _, summary = scan(rules, embedding("a"))
    assert summary.endpoint == EMBEDDINGS


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "invalid_json"),
        (b'{"custom_id": "a"', "invalid_json"),
        (b'{"custom_id": NaN}', "invalid_json"),
        (b'{"custom_id": "a"} {}', "invalid_json"),
        (b"[]", "not_an_object"),
        (b" 5 ", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"custom_id": "\xff"}', "invalid_utf8"),
        (b'{"body": {"messages": ["\xc3"]}}', "invalid_utf8"),
        (b"[" * 100_000, "not_an_object"),
        (b'{"x":' * 100_000, "nested_too_deeply"),
        (b'{"body": {"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}", "nested_too_deeply"),
    ],
)
def test_lines_that_are_no_json_object(
    rules: Rules, chat: MakeLine, line: bytes, reason: str
) -> None:
    assert found(rules, line) == [(1, "", reason)]
    assert found(rules, chat("first"), line, chat("last")) == [(2, "", reason)]


def test_invalid_utf8_in_what_is_skipped_over(rules: Rules, chat: MakeLine) -> None:
    bad = chat("bad").replace(b"Hi", b"H\xe9")
    problems, _, _ = scan(rules, chat("é") + b"\n" + bad)
    assert [(problem.line, problem.reason) for problem in problems] == [(2, "invalid_utf8")]
    assert problems[0].custom_id == "bad"
    assert f"byte {bad.index(0xE9)} " in problems[0].message


def test_what_is_accepted_can_be_decoded_far_down_the_stack(rules: Rules, chat: MakeLine) -> None:
    accepted = 0
    for depth in range(100, 1000, 10):
        nested = b'{"x":' * depth + b"1" + b"}" * depth
        line = chat("a", body={"tools": 0}).replace(b'"tools": 0', b'"tools": ' + nested)
        if not scan(rules, line)[0]:
            accepted = depth

            def decode_below(levels: int, line: bytes = line) -> None:
                decode_below(levels - 1) if levels else decode_request(line)

            decode_below(90)
    assert accepted >= 400


def test_all_problems_of_a_line_are_reported(rules: Rules) -> None:
    line = b'{"custom_id": "", "provider": "acme", "method": "GET", "body": {"stream": true}}'
    assert found(rules, line) == [
        (1, "custom_id", "empty_field"),
        (1, "method", "unsupported_method"),
        (1, "url", "missing_field"),
        (1, "provider", "unknown_provider"),
        (1, "body.model", "missing_field"),
        (1, "body.stream", "streaming_unsupported"),
    ]


def test_an_unknown_field_is_a_warning(rules: Rules, chat: MakeLine) -> None:
    problems, index, summary = scan(
        rules, chat("a") + b"\n" + chat("b", **{"priority`s": 1}) + b"\n" + chat("c")
    )
    assert [(p.line, p.field, p.reason, p.severity) for p in problems] == [
        (2, "priority`s", "unknown_field", "warning")
    ]
    assert summary.invalid_count == 0
    assert summary.groups[0].lines == 3
    assert all(record.valid for record in iter_index(index))


def test_a_warning_of_many_lines_is_told_once(rules: Rules, chat: MakeLine) -> None:
    lines = [chat(str(n), odd=1) if n % 2 else chat(str(n)) for n in range(1000)]
    (warning,), _, summary = scan(rules, b"\n".join(lines))
    assert (warning.line, warning.custom_id, warning.field) == (2, "1", "odd")
    assert "(500 lines; the first)" in warning.message
    assert summary.warnings == [warning]


def test_a_message_names_its_field_once(rules: Rules, chat: MakeLine) -> None:
    """Twice where a part of it is wrong, of which the whole says what was expected."""
    bad = [chat("a", body={"messages": "Hi"}), chat("b", body={"messages": ["Hi"]})]
    (whole, part), _, _ = scan(rules, b"\n".join(bad))
    assert (whole.message.count("body.messages"), part.message.count("body.messages")) == (1, 2)


def test_messages_hold_no_contents(rules: Rules, chat: MakeLine) -> None:
    secret = "swordfish"
    lines = [
        chat("a", body={"messages": [secret]}),
        chat("b", body={"messages": secret}),
        chat("c", body=secret),
        chat("d")[:-9] + secret.encode(),
        chat("e", body={"stream": secret}),
    ]
    problems, _, _ = scan(rules, b"\n".join(lines))
    assert len(problems) == 5
    assert not any(secret in problem.message for problem in problems)


def test_long_values_are_cut_in_messages(rules: Rules, chat: MakeLine) -> None:
    problems, _, _ = scan(
        rules, chat("x" * 5000, method="m" * 5000, provider="p" * 5000, url="u" * 5000)
    )
    assert [problem.field for problem in problems] == ["custom_id", "method", "url", "provider"]
    assert all(len(problem.message) < 300 for problem in problems)
    assert all(len(problem.custom_id) <= 1024 for problem in problems)


def test_crlf_blank_lines_and_no_last_newline(rules: Rules, chat: MakeLine) -> None:
    lines = [chat("a"), b"", chat("b") + b"\r", b"\r", b"  \t", chat("c")]
    data = b"\n".join(lines)
    problems, index, summary = scan(rules, data)
    assert problems == []
    assert summary.line_count == 3
    assert summary.bytes == len(data)
    records = list(iter_index(index))
    assert [record.line for record in records] == [1, 3, 6]
    assert [data[r.offset : r.offset + r.length] for r in records] == [
        chat("a"),
        chat("b"),
        chat("c"),
    ]


def test_a_byte_order_mark_at_the_start_is_a_warning(rules: Rules, chat: MakeLine) -> None:
    data = b"\xef\xbb\xbf" + chat("a") + b"\n\xef\xbb\xbf" + chat("b") + b"\n"
    problems, index, summary = scan(rules, data)
    assert [(p.line, p.reason, p.severity) for p in problems] == [
        (1, "byte_order_mark", "warning"),
        (2, "byte_order_mark", "error"),
    ]
    first = next(iter_index(index))
    assert data[first.offset : first.offset + first.length] == chat("a")
    assert summary.line_count == 2


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file(rules: Rules, data: bytes) -> None:
    _, index, summary = scan(rules, data)
    assert index == b""
    assert (summary.line_count, summary.invalid_count, summary.endpoint) == (0, 0, "")
    assert summary.groups == []


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_line_limit_counts_neither_newline_nor_cr(
    rules: Rules, chat: MakeLine, end: bytes
) -> None:
    good = chat("a")
    limit = len(good)
    problems, _, summary = scan(rules, good + end, max_line_bytes=limit)
    assert problems == []
    problems, index, summary = scan(rules, good + b" " + end, max_line_bytes=limit)
    assert [(p.line, p.field, p.reason) for p in problems] == [(1, "", "line_too_long")]
    assert f"has {limit + 1} bytes" in problems[0].message
    record = next(iter_index(index))
    assert (record.length, record.group, record.valid) == (0, NO_GROUP, False)
    assert summary.line_count == summary.invalid_count == 1


def test_models_are_counted_as_named(rules: Rules, chat: MakeLine) -> None:
    lines = [
        chat("a"),
        chat("b", provider=...),
        chat("c", body={"model": "gpt-4.1"}),
        chat("d", method="GET"),
        chat("e", provider="anthropic", body={"model": "claude"}),
    ]
    _, index, summary = scan(rules, b"\n".join(lines))
    assert [(g.provider, g.model, g.lines) for g in summary.groups] == [
        ("openai", "openai/gpt-4.1", 2),
        ("openai", "gpt-4.1", 1),
        ("anthropic", "claude", 1),
    ]
    assert summary.groups[0].bytes == len(lines[0]) + len(lines[1])
    assert [record.group for record in iter_index(index)] == [0, 0, 1, NO_GROUP, 2]


def test_more_models_than_groups(rules: Rules, chat: MakeLine) -> None:
    lines = [chat(str(n), body={"model": f"m{n}"}) for n in range(4098)]
    lines.append(chat("again", body={"model": "m0"}))
    assert found(rules, *lines) == [
        (4097, "body.model", "too_many_models"),
        (4098, "body.model", "too_many_models"),
    ]


def test_no_provider_at_all_offers_an_endpoint(chat: MakeLine) -> None:
    assert found(Rules({"openai": frozenset()}), chat("a")) == [
        (1, "url", "endpoint_not_supported")
    ]


def half(text: bytes, chat: MakeLine, **more: Any) -> bytes:
    """A line in which a text stands as it is given."""
    return chat("a", body={"user": "HALF"}, **more).replace(b"HALF", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rb"x\ud83d", "ud83d"),
        (rb"\uDE00\ud83d", "ude00"),
        (rb"\ud83d\ude00 \ud83d!", "ud83d"),
        (b"\xed\xa0\xbd", "ud83d"),
    ],
)
def test_half_a_character_is_named(rules: Rules, chat: MakeLine, text: bytes, said: str) -> None:
    lines = [chat("b"), half(text, chat)]
    [problem], _, summary = scan(rules, b"\n".join(lines))
    assert (problem.line, problem.field, problem.reason) == (2, "body.user", "lone_surrogate")
    assert problem.custom_id == "a"
    assert said in problem.message
    assert summary.invalid_count == 1


def test_half_a_character_may_stand_anywhere(rules: Rules, chat: MakeLine) -> None:
    id_of_half = chat("HALF").replace(b"HALF", rb"\ud800")
    key_of_half = chat("b", body={"metadata": {"HALF": 1}}).replace(b"HALF", rb"\ud800")
    within = chat("c", body={"messages": [{"role": "user", "content": ["HALF"]}]})
    assert found(rules, id_of_half, key_of_half, within.replace(b"HALF", rb"\udfff")) == [
        (1, "custom_id", "lone_surrogate"),
        (2, "body.metadata", "lone_surrogate"),
        (3, "body.messages[0].content[0]", "lone_surrogate"),
    ]


def test_whole_characters_and_other_faults_are_not_taken_for_halves(
    rules: Rules, chat: MakeLine
) -> None:
    assert found(rules, half(rb"\ud83d\ude00", chat)) == []
    assert found(rules, half(rb"\\ud83d", chat)) == []
    assert found(rules, half(rb"\ud83d", chat)[:-1]) == [(1, "", "invalid_json")]
    assert found(rules, half(b"\xed\xa0\xbd\xff", chat)) == [(1, "", "invalid_utf8")]


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        (b'"body"', b'"provider":"openai","body"', "provider"),
        (b'"messages"', b'"user":"a","user":"b","messages"', "body.user"),
        (b'"content"', b'"content":"x","content"', "body.messages[0].content"),
        (b'"messages"', b'"metadata":{"a":1,"b":{"a":1,"a":2}},"messages"', "body.metadata.b.a"),
    ],
)
def test_doubled_keys_are_warned_of(
    rules: Rules, chat: MakeLine, before: bytes, after: bytes, path: str
) -> None:
    doubled = chat("x").replace(before, after, 1)
    lines = [chat("a"), doubled, *[chat(f"b{n}") for n in range(1200)]]
    # Further on, one line of many is looked at: a file that does it does it everywhere.
    lines += [chat(f"c{n}").replace(before, after, 1) for n in range(200)]
    [problem], _, summary = scan(rules, b"\n".join(lines))
    assert (problem.line, problem.field, problem.reason) == (2, path, "doubled_key")
    assert problem.severity == "warning"
    assert "the last one counts" in problem.message
    assert summary.invalid_count == 0
    assert "4 lines" in problem.message


def test_the_same_key_in_two_objects_is_not_doubled(rules: Rules, chat: MakeLine) -> None:
    body = {"metadata": {"model": "a", "b": {"b": 1}}, "stop": "\\u0061", "n": 10**30}
    assert found(rules, chat("a", body=body), b'{"a":1,"a":', b'{"a":1,"a":2}')[:1] == [
        (2, "", "invalid_json")
    ]

"""The scanner as a whole: any bytes, any chunks, any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from core.batchfile import (
    INDEX,
    LineScanner,
    Problem,
    Rules,
    Summary,
    TooManyLines,
    custom_id_of,
    duplicates,
    iter_index,
)
from core.batchfile.recognition import HEAD_BYTES, recognize
from tests.fuzz.budget import examples

MakeLine = Callable[..., bytes]

RULES = Rules(
    {
        "openai": frozenset({"/v1/chat/completions", "/v1/embeddings"}),
        "anthropic": frozenset({"/v1/chat/completions"}),
    }
)
LIMIT = 230

GOOD = (
    b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions",'
    b'"body":{"model":"%s","messages":[{"role":"user","content":"%s"}]}}'
)
good_lines = st.builds(
    lambda custom_id, model, content: GOOD % (custom_id, model, content.encode()),
    st.sampled_from([b"a", b"b", b"c", b"d", b""]),
    st.sampled_from([b"openai/gpt-4.1", b"anthropic/claude", b"gpt-4.1", b"openai/"]),
    st.text(st.characters(codec="utf-8", exclude_characters='"\\', min_codepoint=32), max_size=12),
)
lines = st.one_of(
    good_lines,
    good_lines.map(lambda line: line + b"\r"),
    good_lines.map(lambda line: line.ljust(LIMIT + 2)),
    st.integers(LIMIT - 2, LIMIT + 3).map(lambda size: b"x" * size),
    st.integers(LIMIT - 2, LIMIT + 3).map(lambda size: b"x" * size + b"\r"),
    st.sampled_from([b"", b"\r", b" ", b"\xef\xbb\xbf", b"{}", b"[]", b"\xff", b"\r\r"]),
    st.binary(max_size=40),
)
files = st.one_of(
    st.lists(lines, max_size=8).map(b"\n".join),
    st.lists(good_lines, max_size=8).map(lambda found: b"\xef\xbb\xbf" + b"\n".join(found)),
    st.binary(max_size=200),
)


def scan(chunks: Iterator[bytes] | list[bytes]) -> tuple[bytes, list[Problem], Summary]:
    scanner = LineScanner(RULES, max_line_bytes=LIMIT, max_lines=1000)
    index, problems = b"", []
    for chunk in chunks:
        for scanned in scanner.feed(chunk):
            index += scanned.index
            problems += scanned.problems
    last, summary = scanner.finish()
    return index + last.index, problems + last.problems, summary


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


@settings(max_examples=examples(100), deadline=None)
@given(files, st.lists(st.integers(0, 60), max_size=30))
@example(b"x" * LIMIT + b"\r\n", [LIMIT + 1])
@example(b"x" * (LIMIT + 1) + b"\r\n", [LIMIT + 2, 0])
@example(b"x" * (LIMIT + 5) + b"\r\nx", [LIMIT, 3, 3])
@example("é\n".encode(), [1, 1])
def test_how_a_file_is_cut_into_chunks_makes_no_difference(data: bytes, sizes: list[int]) -> None:
    whole = scan([data])
    assert scan(cut(data, sizes)) == whole
    assert scan(data[at : at + 1] for at in range(len(data))) == whole


@settings(max_examples=examples(100), deadline=None)
@given(files)
def test_the_index_says_where_each_line_lies(data: bytes) -> None:
    assume(recognize(data[:HEAD_BYTES], whole=len(data) < HEAD_BYTES) is None)
    index, problems, summary = scan([data])
    expected = []
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.removesuffix(b"\r")
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if len(line.removesuffix(b"\r")) > LIMIT:
            expected.append((number, b""))
        elif text.strip(b" \t\r\v\f"):
            expected.append((number, text))
    records = list(iter_index(index))
    assert [(r.line, data[r.offset : r.offset + r.length]) for r in records] == expected
    assert summary.line_count == len(records)
    assert summary.bytes == len(data)
    errors = {problem.line for problem in problems if problem.severity == "error"}
    assert {r.line for r in records if not r.valid} == errors
    assert summary.invalid_count == len(errors)
    assert [problem.line for problem in problems] == sorted(p.line for p in problems)
    valid = [r for r in records if r.valid]
    for number, group in enumerate(summary.groups):
        assert group.lines == sum(r.group == number for r in valid)
        assert group.bytes == sum(r.length for r in valid if r.group == number)


@settings(max_examples=examples(100), deadline=None)
@given(files)
def test_duplicates_are_those_that_a_dictionary_finds(data: bytes) -> None:
    index, _, summary = scan([data])
    first: dict[str, int] = {}
    expected = []
    for record in iter_index(index):
        custom_id = custom_id_of(data[record.offset : record.offset + record.length])
        if custom_id and first.setdefault(custom_id, record.line) != record.line:
            expected.append((record.line, first[custom_id]))
    found = summary.duplicates
    assert list(zip(found.lines, found.firsts, strict=True)) == expected


@pytest.mark.parametrize("kept_in_order", [1, 3, 1000])
def test_duplicates_are_found_in_a_file_of_any_size(
    chat: MakeLine, monkeypatch: pytest.MonkeyPatch, kept_in_order: int
) -> None:
    monkeypatch.setattr(duplicates, "_KEPT_IN_ORDER", kept_in_order)
    ids = ["a", "b", "c", "a", "d", "b", "e", "a"]
    _, _, summary = scan([chat(custom_id) + b"\n" for custom_id in ids])
    found = summary.duplicates
    assert list(zip(found.lines, found.firsts, strict=True)) == [(4, 1), (6, 2), (8, 1)]


def test_a_long_line_that_comes_in_small_chunks(chat: MakeLine) -> None:
    line = chat("a", body={"messages": [{"role": "user", "content": "x" * 3_000_000}]})
    scanner = LineScanner(RULES, max_line_bytes=4_000_000, max_lines=10)
    for at in range(0, len(line), 1000):
        assert not list(scanner.feed(line[at : at + 1000]))
    last, summary = scanner.finish()
    assert len(last.index) == INDEX.size
    assert summary.groups[0].bytes == len(line)


def test_an_oversized_line_is_counted_to_its_end(chat: MakeLine) -> None:
    scanner = LineScanner(RULES, max_line_bytes=1000, max_lines=10)
    problems = []
    for chunk in [chat("a") + b"\n", *[b"x" * 10_000] * 50, b"x\r\n" + chat("b") + b"\n"]:
        for scanned in scanner.feed(chunk):
            problems += scanned.problems
    _, summary = scanner.finish()
    assert [problem.line for problem in problems] == [2]
    assert "has 500001 bytes" in problems[0].message
    assert (summary.line_count, summary.invalid_count) == (3, 1)


def test_a_chunk_of_many_bad_lines_comes_in_parts() -> None:
    scanner = LineScanner(RULES, max_line_bytes=1000, max_lines=100_000)
    parts = [scanned.problems for scanned in scanner.feed(b"x\n" * 8192 + b"\n\n[")]
    assert [len(problems) for problems in parts] == [4096, 4096, 0]
    assert [problem.line for problems in parts for problem in problems] == [*range(1, 8193)]


def test_too_many_lines(chat: MakeLine) -> None:
    scanner = LineScanner(RULES, max_line_bytes=1000, max_lines=2)
    list(scanner.feed(b"\n\n" + chat("a") + b"\n\n" + chat("b") + b"\n\n"))
    with pytest.raises(TooManyLines) as raised:
        list(scanner.feed(chat("c") + b"\n"))
    assert raised.value.limit == 2


def test_the_last_line_may_be_one_too_many(chat: MakeLine) -> None:
    scanner = LineScanner(RULES, max_line_bytes=1000, max_lines=1)
    list(scanner.feed(chat("a") + b"\n" + chat("b")))
    with pytest.raises(TooManyLines):
        scanner.finish()

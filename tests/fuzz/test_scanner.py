"""The line scanner against any bytes, and against a slow reference."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batchfile import LineScanner, Rules, iter_index
from core.batchfile.recognition import HEAD_BYTES, recognize
from core.json_depth import deeper_than
from tests.fuzz.budget import examples
from tests.fuzz.json_values import AWKWARD, changed
from tests.fuzz.reference import PROVIDERS, depth_of, valid_lines

LIMIT = 2_000
DEPTH = 20
LINE: dict[str, Any] = {
    "custom_id": "a",
    "provider": "openai",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {
        "model": "openai/gpt-4.1",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "tools": [{"a": [[]]}],
    },
}
EMBEDDING: dict[str, Any] = dict(
    LINE, url="/v1/embeddings", body={"model": "openai/e", "input": ["a", "b"]}
)
TOKENS: dict[str, Any] = dict(
    LINE, url="/v1/embeddings", body={"model": "openai/e", "input": [[1, 2], [3]]}
)
# What msgspec and json differ in, or what no rule here is about: numbers out of a float's
# range, halves of surrogates. They are tried below, for what may be raised only.
DISPUTED = (b"1e999", b"99999999", b"\\ud", b"11111111111", b"1844674", b"92233", b"e-400")
lines = st.one_of(
    changed(LINE), changed(EMBEDDING), changed(TOKENS), st.binary(max_size=40)
).filter(lambda line: b"\n" not in line)
files = (
    st.lists(lines, max_size=6)
    .map(b"\n".join)
    .filter(
        lambda content: recognize(content[:HEAD_BYTES], whole=len(content) < HEAD_BYTES) is None
    )
)
"""What holds no lines at all has another test: tests/unit/batchfile/test_recognition.py."""


def scan(content: bytes, sizes: list[int]) -> tuple[list[int], list[int], int]:
    """(valid lines, lines with an error, invalid lines by the summary)."""
    scanner = LineScanner(Rules(PROVIDERS), max_line_bytes=LIMIT, max_lines=1000, max_depth=DEPTH)
    index, problems, at = b"", [], 0
    for size in [*sizes, len(content)]:
        for scanned in scanner.feed(content[at : at + size]):
            index += scanned.index
            problems += scanned.problems
        at += size
    last, summary = scanner.finish()
    index += last.index
    problems += last.problems
    valid = [record.line for record in iter_index(index) if record.valid]
    bad = sorted({problem.line for problem in problems if problem.severity == "error"})
    assert {problem.reason for problem in problems} <= KNOWN_REASONS
    return valid, bad, summary.invalid_count


KNOWN_REASONS = {
    "byte_order_mark",
    "custom_id_too_long",
    "empty_field",
    "endpoint_not_supported",
    "invalid_json",
    "invalid_model",
    "invalid_utf8",
    "lone_surrogate",
    "line_too_long",
    "missing_field",
    "model_provider_mismatch",
    "model_too_long",
    "nested_too_deeply",
    "not_an_object",
    "streaming_unsupported",
    "unknown_provider",
    "unsupported_method",
    "unsupported_url",
    "url_mismatch",
    "wrong_type",
}


@given(files, st.lists(st.integers(0, 300), max_size=10))
@settings(max_examples=examples(200))
def test_the_valid_lines_are_those_of_the_reference(content: bytes, sizes: list[int]) -> None:
    valid, bad, invalid = scan(content, sizes)
    assert not set(valid) & set(bad)
    assert invalid == len(bad)
    if not any(text in content for text in DISPUTED):
        assert valid == valid_lines(content, max_line_bytes=LIMIT, max_depth=DEPTH)


anything = st.recursive(
    st.one_of(st.integers(), st.text(alphabet='[]{}"\\a', max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(anything, st.integers(1, 8), st.booleans())
@settings(max_examples=examples(200))
def test_the_depth_is_that_of_the_json_module(value: Any, levels: int, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert deeper_than(raw, levels) == (depth_of(value) > levels)


no_json = st.one_of(st.binary(max_size=200), st.text(alphabet='[]{}"\\', max_size=60))


@given(no_json, st.integers(1, 5))
@settings(max_examples=examples(100))
def test_the_depth_of_what_is_no_json_is_told_without_an_error(raw: Any, levels: int) -> None:
    deeper_than(raw if isinstance(raw, bytes) else raw.encode(), levels)


@pytest.mark.parametrize("awkward", AWKWARD, ids=lambda value: repr(value[:12]))
@pytest.mark.parametrize("place", ["custom_id", "url", "body", "model", "messages", "x"])
def test_an_awkward_value_anywhere_is_a_finding_or_none(awkward: bytes, place: str) -> None:
    fields = dict(LINE, x=1, body=dict(LINE["body"], x=1))
    target = fields["body"] if place in fields["body"] and place != "x" else fields
    target[place] = "PLACE"
    content = json.dumps(fields).encode().replace(b'"PLACE"', awkward)
    scanner = LineScanner(Rules(PROVIDERS), max_line_bytes=1 << 20, max_lines=10)
    for _ in scanner.feed(content + b"\n"):
        pass
    scanner.finish()


def peak_of(scanner: LineScanner, chunks: list[bytes], times: int) -> int:
    tracemalloc.start()
    try:
        for _ in range(times):
            for chunk in chunks:
                for _ in scanner.feed(chunk):
                    pass
        scanner.finish()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_endless_line_is_let_go() -> None:
    scanner = LineScanner(Rules(PROVIDERS), max_line_bytes=1 << 20, max_lines=10)
    assert peak_of(scanner, [b"x" * (1 << 20)], 200) < 4 << 20


@pytest.mark.parametrize(
    "line", [b"[]," * 500_000, b'{"":' * 300_000, b'"\\"' * 500_000, b'{"a":[' + b"[]," * 500_000]
)
async def test_brackets_cost_time_in_proportion(line: bytes) -> None:
    # No figure, only an end: what were quadratic would take hours.
    await asyncio.wait_for(asyncio.to_thread(deeper_than, line, 500), 60)

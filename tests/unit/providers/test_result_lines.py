"""Streams of result lines, and lines that nobody expects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.providers import result_lines as resultlines
from core.providers.anthropic.translation import read_line
from core.providers.contract import Outcome, ProviderUnavailable
from core.providers.openai.rows import read_row
from core.providers.result_lines import UnreadableLine, split_lines
from tests.fuzz.budget import examples

CREATED = 1790000000

QUICK = settings(deadline=None, max_examples=examples(60))


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"[]", b"null", b"{}", b'{"custom_id":5}', b'{"custom_id":null}', b'{"id":' * 9000],
)
def test_unreadable_lines(line: bytes) -> None:
    with pytest.raises(UnreadableLine):
        read_row(line)
    with pytest.raises(UnreadableLine):
        read_line(line, CREATED)


@QUICK
@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_readers(noise: bytes) -> None:
    for line in (
        noise,
        b'{"custom_id":"a-b-1","response":' + noise,
        b'{"custom_id":"a","result":' + noise,
    ):
        for read in (read_row, lambda given: read_line(given, CREATED)):
            with suppress(UnreadableLine):
                read(line)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
NAMES = st.sampled_from(
    ["type", "message", "error", "content", "usage", "stop_reason", "id", "status_code", "body"]
)
odd_objects = st.dictionaries(NAMES, json_values | st.dictionaries(NAMES, json_values))


@QUICK
@given(odd_objects)
def test_odd_results_give_a_line_whose_parts_are_json(odd: dict[str, Any]) -> None:
    for sent in (odd, {"type": "succeeded", "message": odd}, {"type": "errored", "error": odd}):
        lines = [read_row(json.dumps({"custom_id": "a", "response": sent}).encode())]
        try:
            lines.append(read_line(json.dumps({"custom_id": "a", "result": sent}).encode(), 0))
        except UnreadableLine:
            assert not isinstance(sent.get("type"), str)
        for line in lines:
            assert (line.error is None) == (line.outcome is Outcome.SUCCEEDED)
            for part in (line.response, line.error):
                json.loads(part or b"{}")


async def chunked(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def split(content: bytes, size: int) -> list[bytes | None]:
    return [line async for group in split_lines(chunked(content, size)) for line in group]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    content = b'{"a":1}\n\n  \n{"b":"\xc3\xa9"}\r\n[]'
    assert await split(content, size) == [b'{"a":1}', b'{"b":"\xc3\xa9"}\r', b"[]"]


async def test_a_stream_that_ends_in_a_line_has_broken() -> None:
    with pytest.raises(ProviderUnavailable, match="in the middle of a line"):
        await split(b'{"a":1}\n{"b":', 4)


async def test_lines_that_are_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resultlines, "MAX_LINE_BYTES", 10)
    content = b'{"a":1}\n' + b"x" * 100 + b'\n{"b":2}\n'
    for size in (1, 8, 1000):
        assert await split(content, size) == [b'{"a":1}', None, b'{"b":2}']

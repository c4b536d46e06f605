"""Result lines of any kind: a result in the documented form, or UnreadableLine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polybatch import DataError
from polybatch.models.results import ResultLine as Shown

from core.batchfile import answer_line
from core.json_depth import deeper_than
from core.providers import Outcome, ResultLine
from core.providers.anthropic.translation import read_line as read_anthropic
from core.providers.gemini.response import read_line as read_gemini
from core.providers.openai.rows import read_row
from core.providers.parsing import MAX_COUNT
from core.providers.provider_errors import parse_retry_after, read_error
from core.providers.result_lines import UnreadableLine, is_utf8
from tests.fuzz.budget import examples
from tests.fuzz.json_values import changed
from tests.fuzz.provider_answers import (
    ANTHROPIC_LINE,
    ERROR,
    GEMINI_EMBEDDING,
    GEMINI_LINE,
    OPENAI_ROW,
)

Read = Callable[[bytes], ResultLine]
READERS: dict[str, tuple[Read, Any]] = {
    "openai": (read_row, OPENAI_ROW),
    "anthropic": (lambda line: read_anthropic(line, 0), ANTHROPIC_LINE),
    "gemini": (lambda line: read_gemini(line, 0, "gemini"), GEMINI_LINE),
    "gemini embedding": (lambda line: read_gemini(line, 0, "gemini"), GEMINI_EMBEDDING),
}


def check_result(line: bytes, read: Read) -> None:
    """Read a line as core.providers.result_lines does, and check what it gives."""
    if b"\n" in line or not is_utf8(line) or deeper_than(line):
        return
    try:
        result = read(line)
    except UnreadableLine:
        return
    assert isinstance(result.outcome, Outcome)
    succeeded = result.outcome is Outcome.SUCCEEDED
    assert (result.error is None) == succeeded
    for written in (result.response, result.error):
        assert written is None or b"\n" not in written
        # Numbers of any length are JSON, though Python makes no int of some.
        assert written is None or isinstance(json.loads(written, parse_int=str), dict)
    if result.error is not None:
        told = json.loads(result.error)
        assert told["code"]
        assert told["message"]
    check_shown(answer_line("b", 1, "c", result.response, result.error), succeeded=succeeded)
    usage = result.usage
    for count in (usage.input, usage.cached_input, usage.output, usage.reasoning):
        assert 0 <= count <= 3 * MAX_COUNT


def check_shown(line: bytes, *, succeeded: bool) -> None:
    """The client's ResultLine.ok is what the services count."""
    try:
        shown = Shown.parse(line)
    except DataError:
        # An integer so long that Python reads none of it.
        assert re.search(rb"\d{4301}", line)
        return
    assert shown.ok == succeeded


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=examples(150))
def test_any_line_is_a_result_or_unreadable(name: str, data: st.DataObject) -> None:
    read, template = READERS[name]
    check_result(data.draw(changed(template)), read)


@pytest.mark.parametrize("name", READERS)
@given(st.binary(max_size=100))
@settings(max_examples=examples(50))
def test_any_bytes_are_a_result_or_unreadable(name: str, line: bytes) -> None:
    check_result(line, READERS[name][0])


FIELDS = [
    ("openai", "prompt_tokens"),
    ("openai", "usage"),
    ("anthropic", "usage"),
    ("gemini", "usageMetadata"),
    ("gemini", "args"),
    ("gemini embedding", "tokenCount"),
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_number_out_of_range_raises_nothing_but_unreadable(name: str, field: str) -> None:
    read, template = READERS[name]
    text = json.dumps(template)
    head, _, tail = text.partition(f'"{field}": ')
    _, end = json.JSONDecoder().raw_decode(tail)
    check_result((head + f'"{field}": 1e999' + tail[end:]).encode(), read)


@given(changed(ERROR))
@settings(max_examples=examples(150))
def test_any_error_body_says_something_or_nothing(body: bytes) -> None:
    found = read_error(body)
    assert found.retry_after is None or 0 <= found.retry_after < 1e9


WAITS = ["1e999", "nan", "-1", "9" * 5000, "Wed, 21 Oct 99999 07:28:00 GMT", "1_0", "٣", "\x00"]


@given(st.one_of(st.text(max_size=40), st.sampled_from(WAITS)))
@settings(max_examples=examples(100))
def test_any_retry_after_is_a_time_or_none(value: str) -> None:
    for name in ("retry-after", "retry-after-ms"):
        found = parse_retry_after({name: value}, now=0.0)
        assert found is None or 0 <= found < 1e9

"""The incremental reading of Anthropic's one long body."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sandbox.anthropic.lines import Line
from services.sandbox.splitter import ElementTooLong, Splitter
from tests.fuzz.budget import examples

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\{}[],: \nü'),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["custom_id", "params", '"}', "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
elements = st.fixed_dictionaries({"custom_id": st.text(max_size=5), "params": values}).flatmap(
    lambda element: st.permutations(list(element.items())).map(dict)
)


def split(body: bytes, sizes: list[int]) -> list[tuple[Any, bool]]:
    """The elements of a body that comes in pieces of these sizes, over and over."""
    splitter = Splitter(msgspec.json.Decoder(Line).decode, 10_000)
    found = []
    position = turn = 0
    while position < len(body):
        size = sizes[turn % len(sizes)]
        for raw, line in splitter.feed(body[position : position + size]):
            found.append((json.loads(raw), line is not None))
        position += size
        turn += 1
    splitter.finish()
    return found


@settings(deadline=None, max_examples=examples(60))
@given(
    requests=st.lists(elements, max_size=6),
    indent=st.sampled_from([None, 0, 2]),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
)
def test_elements_are_found_however_the_body_is_cut(
    requests: list[Any], indent: int | None, separators: tuple[str, str], sizes: list[int]
) -> None:
    body = json.dumps(
        {"requests": requests}, indent=indent, separators=separators, ensure_ascii=False
    )
    assert split(body.encode(), sizes) == [(request, True) for request in requests]


@settings(deadline=None, max_examples=examples(60))
@given(requests=st.lists(st.dictionaries(st.text(max_size=3), values), max_size=5))
def test_elements_of_another_form_are_told_apart(requests: list[Any]) -> None:
    found = split(json.dumps({"requests": requests}).encode(), [7])
    assert [element for element, _ in found] == requests
    for element, fits in found:
        assert fits == (
            set(element) == {"custom_id", "params"} and type(element["custom_id"]) is str
        )


def test_an_endless_element_is_refused() -> None:
    splitter = Splitter(msgspec.json.Decoder(Line).decode, 1000)
    splitter.feed(b'{"requests":[{"custom_id":"')
    splitter.feed(b"x" * 900)
    with pytest.raises(ElementTooLong):
        splitter.feed(b"x" * 100)

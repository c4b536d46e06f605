"""Line numbers that a provider quotes are never those of the user's file."""

from __future__ import annotations

import pytest

from core.providers.contract import Refused
from core.providers.error_line_numbers import at_lines, without_positions

LINES = {1: 11, 2: 20, 3: 35}


@pytest.mark.parametrize(
    ("said", "mapped", "stripped"),
    [
        ("Missing url at line 3.", "Missing url at line 35.", "Missing url at a line."),
        ("Line 2: no model", "Line 20: no model", "a line: no model"),
        ("lines 1, 2 and 3", "lines 11, 20 and 35", "some lines"),
        ("ids of lines 1-2", "ids of lines 11-20", "ids of some lines"),
        ("row #2 is bad", "row 20 is bad", "a line is bad"),
        ("line 7", "a line", "a line"),
        ("Expecting value: line 1 column 2 (char 1)",)
        + ("Expecting value: column 2 (char 1)",) * 2,
        ("requests.3.params.top_k: no",) + ("requests[].params.top_k: no",) * 2,
        ("Limit: 90,000 enqueued tokens",) * 3,
        ("deadline 3, baseline 5, 2 lines, messages.3.content",) * 3,
        ("line 99999999999999999999",) * 3,
    ],
)
def test_places_are_mapped_or_taken_out(said: str, mapped: str, stripped: str) -> None:
    assert at_lines(said, LINES.get) == mapped
    assert without_positions(said) == stripped
    assert Refused("code", said, transient=False).message == stripped

"""Places in what we have sent, where a provider quotes them: nobody else knows that file.

A batch of the user's goes out in several files, other lines left out; "line 3" of one of
them is another line of the user's own file.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_NUMBERS = r"\d{1,9}(?:\s*(?:,|-|\band\b|\bor\b|\bto\b)+\s*\d{1,9}\b)*"
_LINES = re.compile(
    # The place within one line's JSON that Python's and other parsers tell.
    r"\bline \d+,? ?(?=col)|"
    rf"\b(?P<word>lines?|rows?)\s*(?:number|no\.?|#|:)?\s*(?P<numbers>{_NUMBERS})\b",
    re.IGNORECASE,
)
_REQUESTS = re.compile(r"\brequests(?:\.\d+\b|\[\d+\])")


def without_positions(text: str) -> str:
    """A provider's message without the numbers of lines of what was sent."""
    return at_lines(text, lambda _position: None)


def at_lines(text: str, line_of: Callable[[int], int | None]) -> str:
    """A provider's message with the numbers of the user's lines in it.

    `line_of`: the user's line at a 1-based position of what was sent; None: not known, then
    the message names no number.
    """

    def put(found: re.Match[str]) -> str:
        if found["numbers"] is None:
            return ""
        lines = {each: line_of(int(each)) for each in re.findall(r"\d+", found["numbers"])}
        if None in lines.values():
            return "a line" if len(lines) == 1 else "some lines"
        numbers = re.sub(r"\d+", lambda each: str(lines[each[0]]), found["numbers"])
        return f"{found['word']} {numbers}"

    return _LINES.sub(put, _REQUESTS.sub("requests[]", text))

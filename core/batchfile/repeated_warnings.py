"""Warnings that many lines give: each is told once, with the number of the lines."""

from __future__ import annotations

import re

from core.batchfile.problems import Problem

_PLACE = re.compile(r"\[\d+\]")
_MOST = 1000
_MOST_WORDS = 50
"""Wordings of one field and reason that are told apart, such as models that nobody knows."""


class RepeatedWarnings:
    """Keeps the first warning of each kind. Memory: a thousand of them at most."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], tuple[Problem, int]] = {}
        self._words: dict[tuple[str, str], int] = {}

    def add(self, warning: Problem) -> None:
        """Take a warning; lines come in ascending order.

        Two are of a kind if they have the same reason, and the same field and message but
        for places in lists.
        """
        place = (_placeless(warning.field), warning.reason)
        kind: tuple[str, ...] = (*place, _placeless(warning.message))
        if kind not in self._kept:
            words = self._words.get(place, 0)
            if words >= _MOST_WORDS:
                kind = place
            if kind not in self._kept and len(self._kept) >= _MOST:
                kind = (warning.reason,)
            elif kind is not place:
                self._words[place] = words + 1
        first, lines = self._kept.get(kind, (warning, 0))
        self._kept[kind] = first, lines + 1

    def problems(self) -> list[Problem]:
        """The warnings, in line order; one that came more than once says how often."""
        return [
            Problem(
                first.line,
                first.custom_id,
                first.field,
                first.reason,
                first.message if lines == 1 else f"{first.message} ({lines} lines; the first)",
                "warning",
            )
            for first, lines in sorted(self._kept.values(), key=lambda each: each[0].line)
        ]


def _placeless(text: str) -> str:
    return _PLACE.sub("[]", text) if "[" in text else text

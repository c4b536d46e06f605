"""Lines that are alike but for their ids and texts, so that each shape is checked once.

The lines of a file mostly ask for the same: one model, one limit, the same tools. Of a line
whose shape is known only the texts are left to look at.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import UNSET, Raw

from core.batchfile.asking import Asked
from core.batchfile.groups import Groups
from core.batchfile.rules import Finding
from core.batchfile.schema import Line
from core.batchfile.totals import LINE_OVERHEAD, Totals, end_of_step

# A file with more shapes begins anew: its next lines teach them.
_MOST_SHAPES = 1024
_MOST_OPTION_BYTES = 4 * 1024 * 1024
# Of one shape: larger options are looked at in each line.
_LONGEST_OPTIONS = 64 * 1024
# Learning a shape takes what a few lines of it save. Where hardly two are alike, so many are
# learned, one for so many lines whose shape was known, and one of so many lines of any kind.
_LEARNED_FIRST = 64
_LEARNED_FOR_KNOWN = 2
_LEARNED_FOR_ANY = 64

# Keys and texts of a message: a role and a content.
_QUOTES_OF_A_MESSAGE = 8

Fits: TypeAlias = Callable[[Any], bool]
Key: TypeAlias = tuple[str | None, str, int | None, int | None, tuple[bytes | None, ...] | None]
"""Provider and model as the line names them, its limits, its options as they stand."""


class Shape:
    """What is known of all lines of one shape. They are valid, if their messages fit."""

    __slots__ = (
        "_asked",
        "_quotes",
        "_sizes",
        "_totals",
        "count",
        "fits",
        "group",
        "options_seen",
        "warnings",
    )

    def __init__(
        self,
        group: int,
        fits: Fits,
        warnings: tuple[Finding, ...],
        totals: Totals,
        asked: Asked,
        quotes: int,
        *,
        options_seen: bool,
    ) -> None:
        """`quotes`: the fewest quotation marks that a line can have beside its messages."""
        self.group = group
        self.fits = fits
        """Of the messages: whether all this holds for their line."""
        self.warnings = warnings
        self.options_seen = options_seen
        """Whether these were looked through, and have no key twice."""
        self._totals = totals
        self._asked = asked
        self._quotes = quotes
        self._sizes = array("I")
        self.count = self._sizes.append
        """Count a line of so many bytes; to be summed up every few thousand."""

    def has_no_key_twice(self, raw: bytes, messages: list[Any]) -> bool:
        """True where that is sure: each key and text takes two quotation marks.

        Far cheaper than to look at the keys. Marks within texts only make it unsure.
        """
        fewest = self._quotes + _QUOTES_OF_A_MESSAGE * len(messages)
        return self.options_seen and raw.count(b'"') == fewest

    def sum_up(self, groups: Groups) -> None:
        """Add what was counted to the sums of the file."""
        sizes = sorted(self._sizes)
        del self._sizes[:]
        start = 0
        while start < len(sizes):
            weight = sizes[start] + LINE_OVERHEAD
            end = bisect_left(sizes, end_of_step(weight) - LINE_OVERHEAD, start)
            text = sum(sizes[start:end])
            groups.lines[self.group] += end - start
            groups.bytes[self.group] += text
            total = self._totals.sum_of(self.group, weight, self._asked)
            total.lines += end - start
            total.text_bytes += text + (end - start) * LINE_OVERHEAD
            total.longest = max(total.longest, sizes[end - 1] + LINE_OVERHEAD)
            start = end


class Shapes:
    """The shapes of one file. Memory: bounded, whatever comes."""

    def __init__(self, groups: Groups, totals: Totals) -> None:
        self._groups = groups
        self._totals = totals
        self._known: dict[Key, Shape] = {}
        self._option_bytes = 0
        self._learned = 0
        self.find = self._known.get
        """The shape of a key, if it is known."""

    def are_worth_it(self, lines: int, unknown: int) -> bool:
        """Whether one more is to be learned, after so many lines, so many of no known shape."""
        known = lines - unknown
        most = _LEARNED_FIRST + known // _LEARNED_FOR_KNOWN + lines // _LEARNED_FOR_ANY
        return self._learned < most

    def learn(
        self,
        key: Key,
        line: Line,
        group: int,
        fits: Fits,
        warnings: tuple[Finding, ...],
        asked: Asked,
    ) -> None:
        """Remember the shape of a line that is valid."""
        options = key[-1]
        size = sum(len(each) for each in options if each is not None) if options else 0
        if size > _LONGEST_OPTIONS:
            return
        if len(self._known) >= _MOST_SHAPES or self._option_bytes + size > _MOST_OPTION_BYTES:
            self.sum_up()
            self._known.clear()
            self._option_bytes = 0
        self._option_bytes += size
        self._learned += 1
        quotes = _fewest_quotes(line) + _fewest_quotes(line.body)
        self._known[key] = Shape(
            group, fits, warnings, self._totals, asked, quotes, options_seen=options is None
        )

    def sum_up(self) -> None:
        """Bring groups and totals up to date."""
        for shape in self._known.values():
            shape.sum_up(self._groups)


def _fewest_quotes(struct: Any) -> int:
    """Quotation marks of keys and texts, but those of the messages."""
    quotes = 0
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if value is None or value is UNSET:
            continue
        quotes += 2
        if isinstance(value, str):
            quotes += 2
        elif isinstance(value, Raw):
            quotes += bytes(value).count(b'"')
    return quotes

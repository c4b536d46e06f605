"""What a conversion gives."""

from __future__ import annotations

from dataclasses import dataclass

from polybatch.problems import LineProblem


@dataclass(frozen=True, slots=True)
class ConvertedLines:
    """Some lines in another form."""

    lines: bytes
    """Those that could be converted, in their order, each with its newline."""
    problems: tuple[LineProblem, ...]
    """Of strict conversions: why the others could not. Of lenient ones also what was left out
    of lines that are there: those problems say `lenient`."""

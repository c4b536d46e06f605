"""Figures beside the embedded mode's, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import shown_value


@dataclass(frozen=True, slots=True)
class Compared:
    """One value, measured on a setup past one machine and on the embedded mode."""

    name: str
    setup: str
    measured: float
    embedded: float
    unit: str
    note: str = ""

    @property
    def ratio(self) -> float:
        """The measured value as a multiple of the embedded mode's."""
        return self.measured / self.embedded if self.embedded else 0.0


def table(figures: Sequence[Compared]) -> str:
    """The figures in columns, one line each."""
    rows = [("figure", "setup", "measured", "embedded", "ratio", "")]
    rows += [
        (
            figure.name,
            figure.setup,
            shown_value(figure.measured, figure.unit),
            shown_value(figure.embedded, figure.unit),
            f"{figure.ratio:.2f}",
            figure.note,
        )
        for figure in figures
    ]
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns, the first being their names."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

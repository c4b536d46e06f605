"""What a benchmark gives: figures beside their limits, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class MeasurementFailed(Exception):
    """Something did not do what was to be measured."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value."""

    name: str
    measured: float
    unit: str
    limit: float | None = None
    """In the same unit; None: shown for information."""
    at_least: bool = False
    """Whether the limit is a lower one."""
    basis: str = ""
    """Where the limit comes from."""

    @property
    def ratio(self) -> float | None:
        """The measured value as a multiple of the limit."""
        return self.measured / self.limit if self.limit else None

    @property
    def outcome(self) -> str:
        """ "met", "missed", or "-" where there is no limit."""
        if self.limit is None:
            return "-"
        met = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        return "met" if met else "missed"


def table(figures: Sequence[Figure]) -> str:
    """The figures in columns, one line each."""
    rows = [("figure", "measured", "limit", "ratio", "outcome", "the limit is")]
    for figure in figures:
        sign = ">=" if figure.at_least else "<="
        limit, ratio = figure.limit, figure.ratio
        rows.append(
            (
                figure.name,
                shown_value(figure.measured, figure.unit),
                "-" if limit is None else f"{sign} {shown_value(limit, figure.unit)}",
                "-" if ratio is None else f"{ratio:.2f}",
                figure.outcome,
                figure.basis,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def shown_value(value: float, unit: str) -> str:
    """A value with its unit, in three digits or whole."""
    return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"

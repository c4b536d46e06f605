"""Stacked bars by day, as numbers that a template draws as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

WIDTH, HEIGHT = 1060.0, 180.0
_SERIES = 5
_REST = "others"
_GAP = 0.28
_TOPS = tuple(Decimal(each) for each in ("1", "1.2", "1.6", "2", "4", "6", "8", "10"))


@dataclass(frozen=True)
class Bar:
    """One piece of a day's bar."""

    series: int
    name: str
    day: date
    value: Decimal
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Bars:
    """A chart. `ticks`: values of the axis with their heights; `days`: dates with their places."""

    bars: Sequence[Bar]
    series: Sequence[tuple[int, str, Decimal]]
    ticks: Sequence[tuple[Decimal, float]]
    days: Sequence[tuple[date, float]]
    width: float = WIDTH
    height: float = HEIGHT


def stacked_bars(
    cells: Mapping[tuple[str, int], Decimal], days: Sequence[date], order: Sequence[str] = ()
) -> Bars:
    """`cells`: values by name and place in `days`; small series are drawn as one.

    `order`: names that are the same series in several charts; else the largest come first.
    """
    totals: dict[str, Decimal] = {}
    for (name, _), value in cells.items():
        totals[name] = totals.get(name, Decimal(0)) + value
    known = {name: number for number, name in enumerate(order)}
    ranked = sorted(
        (name for name in totals if totals[name] or name in known),
        key=lambda name: (known.get(name, len(known)), -totals[name]),
    )
    # As many as there are colours; the last one stands for what is left.
    own = ranked if len(ranked) <= _SERIES else ranked[: _SERIES - 1]
    place = {name: number for number, name in enumerate(own)}
    heights: dict[tuple[int, int], Decimal] = {}
    for (name, day), value in cells.items():
        spot = (place.get(name, len(own)), day)
        heights[spot] = heights.get(spot, Decimal(0)) + value
    sums = [
        sum((value for (_, at), value in heights.items() if at == day), Decimal(0))
        for day in range(len(days))
    ]
    top = _round_up(max(sums, default=Decimal(0)))
    step = WIDTH / max(1, len(days))
    names = [*own, *([_REST] if len(ranked) > len(own) else [])]
    bars: list[Bar] = []
    for day, label in enumerate(days):
        y = HEIGHT
        for series, name in enumerate(names):
            value = heights.get((series, day), Decimal(0))
            if value <= 0 or not top:
                continue
            height = float(value / top) * HEIGHT
            y -= height
            x = day * step + step * _GAP / 2
            bars.append(
                Bar(
                    series,
                    name,
                    label,
                    value,
                    round(x, 2),
                    round(y, 2),
                    round(step * (1 - _GAP), 2),
                    round(height, 2),
                )
            )
    rest = sum((totals[name] for name in ranked if name not in place), Decimal(0))
    every = max(1, len(days) // 6)
    return Bars(
        bars,
        [(number, name, totals.get(name, rest)) for number, name in enumerate(names)],
        [(top * part / 2, HEIGHT - HEIGHT * part / 2) for part in (0, 1, 2)] if top else [],
        [
            (label, round((number + 0.5) * step, 2))
            for number, label in enumerate(days)
            if number % every == 0
        ],
    )


def _round_up(value: Decimal) -> Decimal:
    """To a power of ten times what is plain, and whose half is plain, too."""
    if value <= 0:
        return Decimal(0)
    power = Decimal(1).scaleb(value.adjusted())
    return next(power * factor for factor in _TOPS if power * factor >= value)

"""From typed values to text: JSON for scripts, columns to read."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


_UNITS_OF_A_DURATION = 2
_MARK = f"decimal-{os.urandom(8).hex()}:"
"""Before a decimal in the place of a text; no text has it by chance."""
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_DECIMAL = re.compile(rf'"{_MARK}([^"]+)"')


def terminal(stream: TextIO) -> Console | None:
    """Returns rich's console for a terminal, None where plain lines are wanted."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console

    return Console(
        file=stream,
        force_terminal=True,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=columns(stream),
        highlight=False,
        markup=False,
        emoji=False,
    )


def columns(stream: TextIO) -> int:
    """Returns the width of the terminal that the stream is, as it is now."""
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        width = 0
    wanted = os.environ.get("COLUMNS", "")
    return max(20, width or (int(wanted) if wanted.isdecimal() else 80))


def to_json(value: Any) -> str:
    """Returns one line of JSON. Times and days are ISO 8601, spans are seconds.

    Decimals are numbers with all of their digits.
    """
    return _DECIMAL.sub(r"\1", json.dumps(_plain(value), separators=(", ", ": ")))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):  # and with it datetime
        return value.isoformat()
    if isinstance(value, Decimal):
        # The library writes floats only, which have fifteen digits for sure.
        return int(value) if value == value.to_integral_value() else f"{_MARK}{value:f}"
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


def printable(text: str) -> str:
    """Returns the text with control characters taken out of their effect.

    Ids, models and messages come from files and providers; a terminal would obey them.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(letter: str) -> str:
    # Spaces other than the common one, and what joins letters and emoji, are part of many scripts.
    harmless = letter in _JOINERS or unicodedata.category(letter) == "Zs"
    return letter if letter.isprintable() or harmless else "?"


def row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Returns cells in columns; a negative width aligns to the right, 0 leaves as it is."""
    parts = []
    for text, width in zip(cells, widths, strict=True):
        clean = printable(text)
        padding = " " * (abs(width) - _display_width(clean))
        parts.append(padding + clean if width < 0 else clean + padding)
    return "  ".join(parts).rstrip()


def _display_width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def moment(value: datetime | None) -> str:
    """Returns a time in the local zone, to the second, with the zone's offset; empty for None."""
    return "" if value is None else value.astimezone().isoformat(" ", "seconds")


def duration(seconds: float) -> str:
    """Returns a time span in its two largest units, such as "1 h 20 min"."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, length)
        if count or (parts and len(parts) < _UNITS_OF_A_DURATION):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:_UNITS_OF_A_DURATION]).replace(" 0 s", "") or "0 s"


def age(value: datetime | None, now: datetime) -> str:
    """Returns how long ago it was, in its largest unit; empty for None."""
    if value is None:
        return ""
    first, unit, *_ = duration((now - value).total_seconds()).split()
    return f"{first} {unit}"


def counted(count: int, thing: str) -> str:
    """Returns a number of things, such as "1 line" or "2,000 lines"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def percent(value: float) -> str:
    """Returns whole percents, rounded down: what is not complete is never "100 %"."""
    return f"{int(value)} %"


def usd(amount: Decimal) -> str:
    """Returns an amount of USD, exactly, and with cents."""
    cents = Decimal("0.01")
    return f"{amount.quantize(cents) if amount == amount.quantize(cents) else amount.normalize():f}"


def about_usd(amount: Decimal) -> str:
    """Returns an amount to be read: to the cent, below a dollar in two digits that count.

    Rounded up, so that nothing seems to cost less than it does.
    """
    if not amount:
        return "0.00"
    exponent = max(-9, min(-2, amount.adjusted() - 1))
    return f"{amount.quantize(Decimal(1).scaleb(exponent), ROUND_UP):,f}"


def size(count: int) -> str:
    """Returns human-readable bytes, in powers of ten."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"

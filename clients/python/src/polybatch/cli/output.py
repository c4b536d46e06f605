"""From typed values to text: JSON for scripts, aligned columns for people."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any


def to_json(value: Any) -> str:
    """Returns one line of JSON. Times are ISO 8601, spans are seconds."""
    return json.dumps(_plain(value), separators=(", ", ": "))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


def printable(text: str) -> str:
    """Returns the text with control characters taken out of their effect.

    Ids, models and messages come from files and providers; a terminal would obey them.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def display_width(text: str) -> int:
    """Returns the columns that a text takes on a terminal."""
    return sum(_columns(letter) for letter in text)


def fit(text: str, width: int) -> str:
    """Returns the printable text, cut to so many columns."""
    text = printable(text)
    if display_width(text) <= width:
        return text
    renewing_lease, used = "", 0
    for letter in text:
        used += _columns(letter)
        if used > width - 1:
            break
        renewing_lease += letter
    return renewing_lease + "…"


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def row(cells: list[tuple[str, int]]) -> str:
    """Returns cells in columns; a negative width aligns to the right, 0 leaves as it is."""
    parts = []
    for text, width in cells:
        clean = printable(text)
        padding = " " * max(0, abs(width) - display_width(clean))
        parts.append(padding + clean if width < 0 else clean + padding)
    return "  ".join(parts).rstrip()


def moment(value: datetime | None) -> str:
    """Returns a time in the local zone, to the second; empty for None."""
    return "" if value is None else f"{value.astimezone():%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """Returns bytes for people, in powers of ten."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"

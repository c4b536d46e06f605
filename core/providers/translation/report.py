"""What a translation changes, drops or cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from core.providers.contract import LineRejected

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Note:
    """Something of a request that was dropped or filled in; the request is still sent."""

    field: str
    """Path of the field, such as "body.seed"."""
    reason: str
    """Machine code: "ignored", "filled_in", "changed" or, when lenient, that of a refusal."""
    message: str


class Report:
    """Collects notes; refuses what gets lost, unless it is lenient."""

    __slots__ = ("lenient", "notes")

    def __init__(self, lenient: bool = False) -> None:
        self.lenient = lenient
        self.notes: list[Note] = []

    def note(self, field: str, reason: str, message: str) -> None:
        """Tell of something that is not lost, or harmless."""
        self.notes.append(Note(field, reason, message))

    def lose(self, field: str, message: str, reason: str = "unsupported_parameter") -> None:
        """A part of the request has no equivalent: LineRejected, or a note when lenient."""
        if not self.lenient:
            raise LineRejected(field, reason, message)
        self.notes.append(Note(field, reason, message))


def decode(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw, field: str, expected: str) -> T:
    """Decode a field. Raises LineRejected that says what was expected."""
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise LineRejected(field, "wrong_type", f"{field} has to be {expected}.") from None

"""What a translation changes, drops or cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from core.providers.contract import LineRejected

T = TypeVar("T")

IGNORED = "ignored"
"""Reason of a note: something without effect on the answer is left out."""
FILLED_IN = "filled_in"
"""Reason of a note: something that the provider needs was not given."""
CHANGED = "changed"
"""Reason of a note: something is said in another way."""

NO_EQUIVALENT = "There is no equivalent."

_LONGEST_FIELD = 200


@dataclass(frozen=True, slots=True)
class Note:
    """Something of a request that does not reach the provider as it was given."""

    field: str
    """Path of the field, such as "body.seed"."""
    reason: str
    """Machine code: that of a refusal, or IGNORED, FILLED_IN, CHANGED."""
    message: str
    weight: Literal["harmless", "lost", "refused"] = "harmless"
    """"lost": only the lenient mode sends the request; "refused": no mode does."""

    @property
    def dropped(self) -> bool:
        """Whether the lenient mode leaves the field out, or what it asks for."""
        return self.weight == "lost" or self.reason == IGNORED


def dropped_fields(notes: Sequence[Note]) -> Sequence[str]:
    """What a lenient translation left out."""
    return [note.field for note in notes if note.dropped] if notes else ()


class Report:
    """Collects notes; refuses what gets lost, unless it is lenient."""

    __slots__ = ("lenient", "notes")

    def __init__(self, lenient: bool = False) -> None:
        self.lenient = lenient
        self.notes: list[Note] = []

    def note(self, field: str, reason: str, message: str) -> None:
        """Tell of something that is not lost, or harmless."""
        self.notes.append(Note(shown(field), reason, message))

    def lose(
        self, field: str, message: str = NO_EQUIVALENT, reason: str = "unsupported_parameter"
    ) -> None:
        """A part of the request has no equivalent: LineRejected, or a note when lenient."""
        if not self.lenient:
            raise LineRejected(shown(field), reason, message)
        self.notes.append(Note(shown(field), reason, message, "lost"))

    def repeat(self, notes: Sequence[Note]) -> None:
        """Say what a lenient report has said, as it would be said here. Raises LineRejected."""
        for note in notes:
            if note.weight == "harmless":
                self.notes.append(note)
            elif note.weight == "lost":
                self.lose(note.field, note.message, note.reason)
            else:
                raise LineRejected(note.field, note.reason, note.message)


def shown(field: str) -> str:
    """A path that may hold names of the user's own, cut at 200 characters."""
    return field if len(field) <= _LONGEST_FIELD else field[:_LONGEST_FIELD] + "…"


def decode(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw, field: str, expected: str) -> T:
    """Decode a field. Raises LineRejected that says what was expected."""
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise wrong_type(field, expected) from None


def wrong_type(field: str, expected: str) -> LineRejected:
    """A field is not what it has to be."""
    return LineRejected(field, "wrong_type", f"{field} has to be {expected}.")

"""JSON schemas that a provider is to enforce: checked once each, and reported for each line."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.translation.report import Note, Report, shown

_CACHED_BYTES = 64 * 1024


class CheckedSchema(NamedTuple):
    """A schema as it is sent, and the notes of it; their fields are below the schema."""

    schema: bytes
    notes: tuple[Note, ...]


def enforcing(check: Callable[[bytes], CheckedSchema]) -> Callable[[Raw, str, Report], Raw]:
    """Make the translation of schemas out of a provider's check of one.

    The translation takes a schema (a JSON object), the path of its field and the line's report;
    it gives the schema as the provider takes it. It raises LineRejected.
    """
    # Mostly all lines of a file have the same one.
    check_once = lru_cache(maxsize=256)(check)

    def translate(schema: Raw, path: str, report: Report) -> Raw:
        raw = bytes(schema)
        checked = check_once(raw) if len(raw) <= _CACHED_BYTES else check(raw)
        for note in checked.notes:
            field = path + note.field
            if note.weight == "refused":
                raise LineRejected(shown(field), note.reason, note.message)
            if note.weight == "lost":
                report.lose(field, note.message, note.reason)
            else:
                report.note(field, note.reason, note.message)
        return Raw(checked.schema)

    return translate

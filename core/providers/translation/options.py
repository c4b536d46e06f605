"""Options of requests, such as tools and schemas: mostly all lines of a file have the same ones.

They are translated once each, and what was said of them is said again of each line.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.translation.report import Note, Report

KEPT = 64
"""Sets of options; the ones used last."""
KEPT_BYTES = 64 * 1024
"""Of one set; larger ones are translated anew for each line. So 4 MB are kept at most, and as
much of what was made of them."""

_encode = msgspec.json.Encoder().encode

About = TypeVar("About", bound=Hashable)


class Settled(NamedTuple):
    """What a set of options comes to."""

    params: Mapping[str, Raw]
    """Of the provider's request; empty where the request is refused."""
    notes: tuple[Note, ...]
    """As the lenient mode has them; one that no mode sends is the last."""


def remembered(
    translate: Callable[[About, dict[str, Raw], Report], dict[str, Any]],
) -> Callable[[About, Mapping[str, Raw]], Settled]:
    """Make a translation of options remember what it has translated.

    `translate` takes what else its outcome depends on, the options by name, and the line's
    report; it raises LineRejected, which becomes a note.
    """

    def settle(about: About, options: tuple[tuple[str, bytes], ...]) -> Settled:
        report = Report(lenient=True)
        params: dict[str, Any] = {}
        try:
            params = translate(about, {name: Raw(raw) for name, raw in options}, report)
        except LineRejected as error:
            report.notes.append(Note(error.field, error.reason, error.message, "refused"))
        encoded = {name: Raw(_encode(value)) for name, value in params.items()}
        return Settled(encoded, tuple(report.notes))

    settle_once = lru_cache(maxsize=KEPT)(settle)

    def look_up(about: About, given: Mapping[str, Raw]) -> Settled:
        options = tuple([(name, bytes(raw)) for name, raw in given.items()])
        kept = sum([len(raw) for _, raw in options]) <= KEPT_BYTES
        return settle_once(about, options) if kept else settle(about, options)

    return look_up

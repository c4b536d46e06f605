"""What the providers ask of each request, as the check of an upload takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from msgspec import Raw

from core.batchfile import Finding, Media, Plain, Rules
from core.providers import Check, KnownProviders, LineRejected, Note, PlainBody, check_model, look


def upload_rules(known: KnownProviders, default_provider: str = "") -> Rules:
    """Every known provider, with a key or without, and the checks of those that have one.

    What a translation loses is an error of its line, unless the batch is lenient; what it
    changes without loss is a warning.
    """
    return Rules(
        known.rules,
        checks={provider: partial(_check, check) for provider, check in known.checks.items()},
        plain=_plain(known.plain),
        own_plain=_plain(known.own_plain),
        check_model=_check_model,
        media=_look,
        infer=known.infer,
        default_provider=default_provider,
    )


def _plain(known: Mapping[str, PlainBody]) -> dict[str, Plain]:
    return {
        provider: Plain(plain.body, partial(_check_plain, plain.check), plain.fits)
        for provider, plain in known.items()
    }


def _check(check: Check, url: str, model: str, body: Raw) -> Iterable[Finding]:
    try:
        notes = check(url, model, body)
    except LineRejected as error:
        return (Finding(error.field, error.reason, error.message, "error"),)
    return map(_finding, notes)


def _look(provider: str, url: str, model: str, body: Raw) -> Media:
    media = look(body, provider=provider, model=model, url=url)
    return Media(
        media.data_bytes,
        media.tokens,
        map(_finding, media.notes),
        media.audio_tokens,
        media.at_most,
        media.unseen,
    )


def _check_plain(
    check: Callable[[Any], Sequence[Note] | None], body: Any
) -> Iterable[Finding] | None:
    notes = check(body)
    if not notes:
        return None if notes is None else ()
    return tuple(map(_finding, notes))


def _check_model(provider: str, url: str, model: str) -> Iterable[Finding]:
    return map(_finding, check_model(provider, url, model))


# Notes of the options that all lines share are said again of each.
@lru_cache(maxsize=1024)
def _finding(note: Note) -> Finding:
    return Finding(
        note.field,
        note.reason,
        note.message,
        "warning" if note.weight == "harmless" else "error",
        lenient=note.weight == "lost",
    )

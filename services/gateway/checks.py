"""What the providers ask of each request, as the check of an upload takes it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from msgspec import Raw

from core.batchfile import Finding, Plain, Rules
from core.providers import Check, KnownProviders, LineRejected


def upload_rules(known: KnownProviders) -> Rules:
    """Every known provider, with a key or without, and the checks of those that have one.

    What cannot be translated is an error of its line; what a translation drops or fills
    in is a warning.
    """
    return Rules(
        known.rules,
        checks={provider: partial(_check, check) for provider, check in known.checks.items()},
        plain={provider: Plain(*plain) for provider, plain in known.plain.items()},
    )


def _check(check: Check, url: str, model: str, body: Raw) -> Iterable[Finding]:
    try:
        notes = check(url, model, body)
    except LineRejected as error:
        return (Finding(error.field, error.reason, error.message, "error"),)
    if not notes:
        return ()
    return [
        Finding(
            note.field,
            note.reason,
            note.message,
            "warning" if note.weight == "harmless" else "error",
        )
        for note in notes
    ]

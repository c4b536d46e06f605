"""Responses requests by way of a provider's translation of chat completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Raw

from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.translation.report import Note, Report
from core.providers.translation.responses.fast_path import surely_passes
from core.providers.translation.responses.request import LimitField, to_chat

ANY_MODEL = Model(id="")

Translate: TypeAlias = Callable[[bytes], tuple[bytes, Sequence[Note]]]
"""Takes the body of a chat completion; gives the provider's, and what was changed or left out."""
Check: TypeAlias = Callable[[bytes], Sequence[Note]]
"""Takes the body of a chat completion; tells what its translation would change and lose."""


def through_chat(
    translate: Translate,
    body: bytes | Raw,
    *,
    lenient: bool,
    limit_field: LimitField = "max_completion_tokens",
    passes_user: bool = False,
) -> tuple[bytes, Sequence[Note]]:
    """Translate a Responses request; the settings are to_chat's.

    Raises LineRejected, with the paths of that request.
    """
    report = Report(lenient)
    chat = to_chat(body, report, limit_field=limit_field, passes_user=passes_user)
    try:
        translated, notes = translate(chat.body)
    except LineRejected as error:
        raise chat.origins.rejection(error) from None
    return translated, [*report.notes, *map(chat.origins.note, notes)]


def check_through_chat(
    check: Check, body: bytes | Raw, *, model: Model, passes_user: bool = False
) -> Sequence[Note]:
    """What the translation of a Responses request would change, lose and refuse.

    `model`: what of it decides about common requests; ANY_MODEL where nothing does.
    """
    if surely_passes(model, body):
        return ()
    report = Report(lenient=True)
    try:
        chat = to_chat(body, report, passes_user=passes_user)
    except LineRejected as error:
        return [*report.notes, Note(error.field, error.reason, error.message, "refused")]
    try:
        notes = check(chat.body)
    except LineRejected as error:
        refused = chat.origins.rejection(error)
        notes = (Note(refused.field, refused.reason, refused.message, "refused"),)
        return [*report.notes, *notes]
    return [*report.notes, *map(chat.origins.note, notes)]

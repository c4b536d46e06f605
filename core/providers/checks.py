"""What is to be said of a model when a file that names it is uploaded."""

from __future__ import annotations

from collections.abc import Sequence

from core.endpoints import AS_CHAT, CHAT_COMPLETIONS
from core.providers.catalogue import CATALOGUE, find_model
from core.providers.translation import Note

_QUOTED = 80


def check_model(provider: str, url: str, name: str) -> Sequence[Note]:
    """What the catalogue says of a model as named in the file, for lines of one url.

    Nothing of providers that it has no models of.
    """
    if not CATALOGUE.knows(provider):
        return ()
    model = find_model(provider, name)
    if not model.listed:
        quoted = name if len(name) <= _QUOTED else name[:_QUOTED] + "…"
        unknown = f'the catalogue has no model "{quoted}" of {provider}; it is passed on as it is'
        return (Note("body.model", "unknown_model", unknown),)
    notes = []
    if url not in model.endpoints and not (url in AS_CHAT and CHAT_COMPLETIONS in model.endpoints):
        notes.append(
            Note(
                "body.model",
                "model_endpoint_mismatch",
                f"{model.id} does not answer {url}; expected a model that does, "
                f"or the url to be {' or '.join(model.endpoints)}",
                "refused",
            )
        )
    if not model.batch:
        notes.append(
            Note("body.model", "not_in_batches", f"{provider} may not run {model.id} in batches")
        )
    if model.retired:
        notes.append(Note("body.model", "model_retired", f"{provider} no longer serves {model.id}"))
    return notes

"""Ids that are shortened, or `last`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from polybatch.cli.session import Session, UnusableInput
from polybatch.errors import NotFound

LAST = "last"
_SHOWN = 3
_PLURALS = {
    **{"batch": "batches", "file": "files"},
    **{"webhook": "webhooks", "delivery": "deliveries"},
}
_LISTS = {
    **{"batch": ("list",), "file": ("files", "list")},
    **{"webhook": ("webhooks", "list"), "delivery": ("webhooks", "deliveries")},
}


def whole_batch_id(session: Session, given: str) -> str:
    """Returns the id that a part stands for: its beginning or its end, `batch_` or not.

    What is whole is not looked up, and what no id fits is returned as it is, for the service
    to refuse. UnusableInput where several fit or nothing is given, NotFound for `last` where
    there is none.
    """
    if _whole("batch", given):
        return given
    _refuse_empty(session, "batch", given)
    return _pick("batch", given, (batch.id for batch in session.client.list_batches()))


def whole_file_id(session: Session, given: str) -> str:
    """The same for files."""
    if _whole("file", given):
        return given
    _refuse_empty(session, "file", given)
    return _pick("file", given, (file.id for file in session.client.files.list()))


def is_whole_file_id(given: str) -> bool:
    """Whether it is the id of a stored file, and not a file's name."""
    return _whole("file", given)


def whole_webhook_id(session: Session, given: str) -> str:
    """The same for webhook endpoints."""
    if _whole("webhook", given):
        return given
    _refuse_empty(session, "webhook", given)
    return _pick("webhook", given, (each.id for each in reversed(session.client.webhooks.list())))


def whole_delivery_id(session: Session, given: str) -> str:
    """The same for deliveries of webhooks."""
    if _whole("delivery", given):
        return given
    _refuse_empty(session, "delivery", given)
    return _pick("delivery", given, (each.id for each in session.client.webhooks.deliveries()))


def _whole(kind: str, given: str) -> bool:
    return re.fullmatch(rf"{kind}_[0-9a-z]{{20}}", given) is not None


def _refuse_empty(session: Session, kind: str, given: str) -> None:
    """What a variable that is not set leaves: every id begins and ends with it."""
    if not given.removeprefix(f"{kind}_").strip():
        listing = session.command(*_LISTS[kind])
        raise UnusableInput(
            f"the ID is empty ({given!r}): name a {kind}; `{listing}` shows the {_PLURALS[kind]}."
        )


def _pick(kind: str, given: str, newest_first: Iterable[str]) -> str:
    # Every id begins with the kind's name, so that alone picks none.
    beginning = f"{kind}_{given.removeprefix(f'{kind}_')}"
    fitting = []
    for each in newest_first:
        if given in (LAST, each):
            return each
        if each.startswith(beginning) or each.endswith(given):
            fitting.append(each)
    if given == LAST:
        raise NotFound(f"there is no {kind} yet.", reason=f"{kind.upper()}_NOT_FOUND")
    if len(fitting) > 1:
        shown = ", ".join(fitting[:_SHOWN]) + (", ..." if len(fitting) > _SHOWN else "")
        plural = _PLURALS[kind]
        raise UnusableInput(f"{given} fits {len(fitting):,} {plural} ({shown}): give more of it.")
    return fitting[0] if fitting else given

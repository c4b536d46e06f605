"""Reading a provider's list page by page, with an end whatever the provider answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from core.providers.contract import ProviderUnavailable
from core.providers.parsing import moment_of

MAX_PAGES = 10_000
"""A million batches or files; a list that goes on has no end."""


class Cursors:
    """The cursors of one list that were followed already."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def follow(self, cursor: str | None) -> bool:
        """Whether to read the page of a cursor: not if there is none, or for a second time.

        Raises ProviderUnavailable for a list without an end.
        """
        if not cursor or cursor in self._seen:
            return False
        if len(self._seen) == MAX_PAGES:
            raise ProviderUnavailable(f"the provider's list has no end after {MAX_PAGES} pages")
        self._seen.add(cursor)
        return True


def past(created: Sequence[object], oldest: datetime) -> bool:
    """Whether a page runs from new to old and has come to before `oldest`.

    `created`: as the provider gives them. The newest come first, as observed; but no provider
    promises it, so only a page that is in that order itself says that the rest is older.
    """
    moments = [moment for moment in map(moment_of, created) if moment is not None]
    if len(moments) != len(created) or len(moments) < 2:
        return False
    newest_first = moments == sorted(moments, reverse=True) and moments[0] > moments[-1]
    return newest_first and moments[-1] < oldest

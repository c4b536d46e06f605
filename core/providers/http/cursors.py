"""Reading a provider's list page by page, with an end whatever the provider answers."""

from __future__ import annotations

from core.providers.contract import ProviderUnavailable

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

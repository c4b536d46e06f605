"""Looking for many batches in one list: what was found, and when to stop reading."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_PAGES = 100
# The batches of others, and ours that have ended, lie between. A page is one call, and each
# batch that it shows saves one: many that are missing are worth many pages without any.
_PATIENCE = 2
_PATIENCE_SHARE = 5


class Sought(Generic[T]):
    """The batches that a list is read for, page by page."""

    def __init__(self, remote_ids: Collection[str]) -> None:
        self.found: dict[str, T] = {}
        self.pages = 0
        self._missing = set(remote_ids)
        self._fruitless = 0

    def read(self, page: Iterable[tuple[str, T]]) -> bool:
        """Take in one page of ids and batches. True: the next one is worth its call."""
        self.pages += 1
        before = len(self._missing)
        for remote_id, batch in page:
            if remote_id in self._missing:
                self._missing.discard(remote_id)
                self.found[remote_id] = batch
        self._fruitless = 0 if len(self._missing) < before else self._fruitless + 1
        patience = max(_PATIENCE, len(self._missing) // _PATIENCE_SHARE)
        return bool(self._missing) and self._fruitless <= patience and self.pages < MOST_PAGES

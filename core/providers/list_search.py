"""Looking for batches in a list: what was found, when to stop reading, when one is not there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from core.providers.contract import Absent, Intent, Listed, RemoteBatch, Unsure

T = TypeVar("T")

CLOCK_MARGIN = timedelta(minutes=5)
"""How far before the time that we know of a batch a list is read: clocks differ."""
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


async def look_up(
    pages: AsyncGenerator[Iterable[T], None],
    remote_ids: Collection[str],
    batch_of: Callable[[T], RemoteBatch],
    *,
    id_of: Callable[[T], str],
) -> Listed:
    """Read a list for as long as that is worth its calls. Raises what reading a page raises."""
    sought = Sought[T](remote_ids)
    async with aclosing(pages):
        async for page in pages:
            if not sought.read((id_of(each), each) for each in page):
                break
    found = {remote_id: batch_of(each) for remote_id, each in sought.found.items()}
    return Listed(found, sought.pages)


def not_listed(
    intent: Intent,
    asked_at: datetime,
    quiet_since: datetime | None,
    *,
    timeout: float,
    settle: timedelta,
) -> Absent | Unsure:
    """What it means that a list had no batch of an intent when it was asked for.

    `timeout`: seconds that a create may take; `settle`: how long after it absence is doubted.
    """
    quiet = quiet_since or intent.intended_at + timedelta(seconds=timeout)
    wait = (quiet + settle - asked_at).total_seconds()
    if wait > 0:
        return Unsure("No batch of this intent yet; it may still show.", retry_after=wait)
    return Absent()

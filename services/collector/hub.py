"""Fan-out of status: one subscription to events, one look at the ledger for each change,
and any number of watchers in memory.

A watcher costs one slot, not a queue: it sees the newest snapshot of its batch, however
many it missed. Events may be lost, so what is watched is also looked at now and then. After each
look comes a rest: what changes meanwhile is looked at together, so that showing a thousand small
batches takes no more than a fifth of the time that they need themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Bus
from core.ledger import TERMINAL, Batch, Ledger, LedgerUnavailable, now
from core.metrics import WATCHERS
from core.pipeline.messages import STATES, shown_batches
from services.collector.watchers import AccountWatcher, Snapshot, Topic, WatchedAccount

log = structlog.get_logger()

FIRST_BATCHES = 1000
"""That a watcher of an account is shown at first: the newest of those that have not ended."""
LIVING = [state for state in STATES if state not in TERMINAL]
_PAGE = 200
# Between two looks at changes, times what the one before took: a few ms where nothing else is done.
_REST = 4.0
_LONGEST_REST = 0.2
_MADE_LATE = timedelta(minutes=1)
"""A batch is in the ledger so long after the time that it was made at, and clocks differ."""


class Hub:
    """All watched batches of one collector."""

    def __init__(
        self,
        ledger: Ledger,
        bus: Bus,
        *,
        recheck: float,
        heartbeat: float,
        rest: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`recheck`: seconds between two looks at what is watched.

        `heartbeat`: seconds of silence after which a topic's watchers are woken. `rest`: waits for
        so many seconds between two looks at changes.
        """
        self._ledger = ledger
        self._bus = bus
        self._recheck = recheck
        self._heartbeat = heartbeat
        self._rest = rest
        self._topics: dict[str, Topic] = {}
        self._accounts: dict[str, WatchedAccount] = {}
        self._dirty: set[str] = set()
        self._work = asyncio.Event()
        self.closing = False
        """Set when the collector is being stopped: watches end, to be resumed elsewhere."""

    async def run(self, stop: asyncio.Event) -> None:
        """Feed the watchers until `stop` is set."""
        subscription = await self._bus.subscribe_events(self._on_event)
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._recheck_now_and_then(),
                self._refresh_for_ever(),
                self._wake_the_silent(),
            )
        ]
        try:
            await stop.wait()
        finally:
            self.closing = True
            for topic in self._topics.values():
                topic.wake()
            for account in self._accounts.values():
                for watcher in account.watchers:
                    watcher.wake()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await subscription.unsubscribe()

    @asynccontextmanager
    async def watch(self, batch: Batch) -> AsyncIterator[Topic]:
        """Watch one batch for the length of the block."""
        topic = self._topics.get(batch.id)
        if topic is None:
            # Subscribed first and read second, so that no change falls between the two.
            topic = Topic(batch.id, batch.account_id, Snapshot(batch.id, 0, False, b""))
            self._topics[batch.id] = topic
        topic.watchers += 1
        WATCHERS.labels("batch").inc()
        try:
            if not topic.snapshot.revision:
                self._touch(batch.id)
            yield topic
        finally:
            WATCHERS.labels("batch").dec()
            topic.watchers -= 1
            if not topic.watchers:
                self._topics.pop(batch.id, None)

    @asynccontextmanager
    async def watch_account(self, account_id: str) -> AsyncIterator[AccountWatcher]:
        """Watch all batches of an account for the length of the block."""
        account = self._accounts.get(account_id)
        if account is None:
            moment = now()
            account = self._accounts[account_id] = WatchedAccount(moment, moment)
        watcher = AccountWatcher(account)
        account.watchers.add(watcher)
        WATCHERS.labels("account").inc()
        try:
            yield watcher
        finally:
            WATCHERS.labels("account").dec()
            account.watchers.discard(watcher)
            if not account.watchers:
                del self._accounts[account_id]

    @property
    def watched(self) -> int:
        """Batches that are watched one by one."""
        return len(self._topics)

    def _on_event(self, event: BatchEvent) -> None:
        topic = self._topics.get(event.batch_id)
        stale = topic is not None and topic.snapshot.revision < event.revision
        if stale or event.account_id in self._accounts:
            self._touch(event.batch_id)

    def _touch(self, batch_id: str) -> None:
        self._dirty.add(batch_id)
        self._work.set()

    async def _refresh_for_ever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            dirty, self._dirty = self._dirty, set()
            began = time.monotonic()
            try:
                await self.refresh(dirty)
            except LedgerUnavailable as error:
                # The next recheck looks at them again, and at all others.
                self._dirty |= dirty
                log.warning("watch_refresh_failed", cause=str(error))
            except Exception:
                # One batch that cannot be shown must not end the watching of all others.
                log.exception("watch_refresh_failed")
            await self._rest(min(_REST * (time.monotonic() - began), _LONGEST_REST))

    async def _recheck_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._recheck)
            self._dirty.update(self._topics)
            try:
                for account_id, account in list(self._accounts.items()):
                    missed = await self._missed(account_id, account)
                    # Not in one statement: that would bring back the set as it was before.
                    self._dirty |= missed
            except LedgerUnavailable as error:
                log.warning("watch_recheck_failed", cause=str(error))
            except Exception:
                # As above: what is watched is to be looked at again the next time.
                log.exception("watch_recheck_failed")
            self._work.set()

    async def _missed(self, account_id: str, account: WatchedAccount) -> set[str]:
        """Batches of an account that its watchers know to be older, or not at all."""
        moment = now()
        since = max(account.began, account.looked - _MADE_LATE)
        page = self._ledger.batches.page
        living = await page(account_id, FIRST_BATCHES, None, LIVING)
        made = await page(account_id, FIRST_BATCHES, (since, ""), oldest_first=True)
        if len(made) == FIRST_BATCHES:
            # There are more: the next recheck goes on behind them.
            moment = min(moment, made[-1].created_at + _MADE_LATE)
        account.looked = moment
        return account.missed(living, made, since)

    async def _wake_the_silent(self) -> None:
        # In place of a timer for each watcher, which would be a sixth of an update's cost.
        # Two looks per heartbeat: silence ends at the second one at the latest.
        while True:
            await asyncio.sleep(self._heartbeat / 2)
            for topic in self._topics.values():
                if topic.stirred:
                    topic.stirred = False
                else:
                    topic.wake()

    async def refresh(self, batch_ids: Iterable[str]) -> None:
        """Read batches from the ledger and hand what is new to their watchers."""
        ids = list(batch_ids)
        for start in range(0, len(ids), _PAGE):
            batches = await self._ledger.batches.get_many(ids[start : start + _PAGE])
            for batch in batches:
                if batch.deleted_at is not None:
                    self._forget(batch)
            wanted = [batch for batch in batches if self._wanted(batch)]
            shown = map(Snapshot.of, await shown_batches(self._ledger, wanted))
            for snapshot, batch in zip(shown, wanted, strict=True):
                topic = self._topics.get(batch.id)
                if topic is not None:
                    topic.put(snapshot)
                account = self._accounts.get(batch.account_id)
                if account is not None:
                    account.put(snapshot)
                    account.told(batch)

    def _forget(self, deleted: Batch) -> None:
        topic = self._topics.get(deleted.id)
        if topic is not None:
            topic.end()
        account = self._accounts.get(deleted.account_id)
        if account is not None:
            account.forget(deleted.id)

    def _wanted(self, batch: Batch) -> bool:
        if batch.deleted_at is not None:
            return False
        topic = self._topics.get(batch.id)
        if topic is not None and topic.snapshot.revision < batch.revision:
            return True
        account = self._accounts.get(batch.account_id)
        if account is None:
            return False
        if account.lacks(batch.id, batch.revision):
            return True
        account.told(batch)
        return False

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
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog
from polybatch.v1 import batches_pb2, status_pb2
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Bus
from core.ledger import TERMINAL, Batch, Ledger, LedgerUnavailable
from core.metrics import WATCHERS
from core.pipeline.messages import STATES, shown_batches

log = structlog.get_logger()

FIRST_BATCHES = 1000
"""That a watcher of an account is shown at first: the newest of those that have not ended."""
LIVING = [state for state in STATES if state not in TERMINAL]
_PAGE = 200
# Between two looks at changes, times what the one before took: a few ms where nothing else is done.
_REST = 4.0
_LONGEST_REST = 0.2
_TERMINAL = frozenset(STATES[state] for state in TERMINAL)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A batch as it was at one revision, ready to be sent.

    Serialized once, however many watchers get it: a fifth of what an update costs.
    """

    id: str
    revision: int
    ended: bool
    message: bytes
    """A WatchBatchResponse; a WatchBatchesResponse is the same on the wire."""

    @classmethod
    def of(cls, batch: batches_pb2.Batch) -> Snapshot:
        """Serialize a batch."""
        response = status_pb2.WatchBatchResponse(batch=batch)
        return cls(batch.id, batch.revision, batch.state in _TERMINAL, response.SerializeToString())


@dataclass(slots=True, eq=False)
class Topic:
    """One watched batch."""

    batch_id: str
    account_id: str
    snapshot: Snapshot
    watchers: int = 0
    stirred: bool = False
    """Whether its watchers were woken lately; see Hub."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, snapshot: Snapshot) -> None:
        """Take a snapshot, unless it is no newer."""
        if snapshot.revision > self.snapshot.revision:
            self.snapshot = snapshot
            self.wake()

    def wake(self) -> None:
        """Let the watchers look up, whether or not anything has changed."""
        self.stirred = True
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def newer_than(self, revision: int) -> Snapshot | None:
        """Wait for a snapshot newer than a revision; None when woken without one."""
        if self.snapshot.revision <= revision:
            await self._changed.wait()
        return self.snapshot if self.snapshot.revision > revision else None


@dataclass(slots=True, eq=False)
class AccountWatcher:
    """One watcher of all batches of an account: the newest snapshot of each that changed."""

    account_id: str
    pending: dict[str, Snapshot] = field(default_factory=dict)
    living: dict[str, int] = field(default_factory=dict)
    """The revision that it was told last, of each batch that had not ended then."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def lacks(self, batch_id: str, revision: int) -> bool:
        """Whether a revision of a batch is news to it."""
        pending = self.pending.get(batch_id)
        known = self.living.get(batch_id, 0) if pending is None else pending.revision
        return known < revision

    def put(self, snapshot: Snapshot) -> None:
        """Take a snapshot, unless it is no newer."""
        if self.lacks(snapshot.id, snapshot.revision):
            self.pending[snapshot.id] = snapshot
            self._changed.set()

    def showed(self, snapshot: Snapshot) -> None:
        """Note what its reader was told."""
        pending = self.pending.get(snapshot.id)
        if pending is not None and pending.revision <= snapshot.revision:
            del self.pending[snapshot.id]
        if snapshot.ended:
            self.living.pop(snapshot.id, None)
        else:
            self.living[snapshot.id] = snapshot.revision

    def forget(self, batch_id: str) -> None:
        """Expect nothing more of a batch: it was deleted."""
        self.living.pop(batch_id, None)

    def wake(self) -> None:
        """Let the watcher look up, though nothing has changed."""
        self._changed.set()

    async def take(self, patience: float) -> list[Snapshot]:
        """Wait for changes and take them; empty after `patience` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._changed.wait()
        self._changed.clear()
        taken = list(self.pending.values())
        for snapshot in taken:
            self.showed(snapshot)
        return taken


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
        self._accounts: dict[str, set[AccountWatcher]] = {}
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
            for watchers in self._accounts.values():
                for watcher in watchers:
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
        watcher = AccountWatcher(account_id)
        self._accounts.setdefault(account_id, set()).add(watcher)
        WATCHERS.labels("account").inc()
        try:
            yield watcher
        finally:
            WATCHERS.labels("account").dec()
            watchers = self._accounts[account_id]
            watchers.discard(watcher)
            if not watchers:
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
                for account_id, watchers in list(self._accounts.items()):
                    self._dirty |= await self._missed(account_id, watchers)
            except LedgerUnavailable as error:
                log.warning("watch_recheck_failed", cause=str(error))
            except Exception:
                log.exception("watch_recheck_failed")
            self._work.set()

    async def _missed(self, account_id: str, watchers: set[AccountWatcher]) -> set[str]:
        """Batches of an account that its watchers know to be older, or not at all."""
        found = await self._ledger.batches.page(account_id, FIRST_BATCHES, None, LIVING)
        news = {
            batch.id
            for batch in found
            if any(watcher.lacks(batch.id, batch.revision) for watcher in watchers)
        }
        # What is no longer among them has ended, or there are more than one page shows.
        known = {batch_id for watcher in watchers for batch_id in watcher.living}
        return news | known.difference(batch.id for batch in found)

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
                    for watcher in self._accounts.get(batch.account_id, ()):
                        watcher.forget(batch.id)
            wanted = [batch for batch in batches if self._wanted(batch)]
            shown = map(Snapshot.of, await shown_batches(self._ledger, wanted))
            for snapshot, batch in zip(shown, wanted, strict=True):
                topic = self._topics.get(batch.id)
                if topic is not None:
                    topic.put(snapshot)
                for watcher in self._accounts.get(batch.account_id, ()):
                    watcher.put(snapshot)

    def _wanted(self, batch: Batch) -> bool:
        if batch.deleted_at is not None:
            return False
        topic = self._topics.get(batch.id)
        newer = topic is not None and topic.snapshot.revision < batch.revision
        watchers = self._accounts.get(batch.account_id, ())
        return newer or any(watcher.lacks(batch.id, batch.revision) for watcher in watchers)

"""What watchers of batches wait for: one batch's newest snapshot, or those of all of an account."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from polybatch.v1 import batches_pb2, status_pb2

from core.ledger import TERMINAL, Batch
from core.pipeline.messages import STATES

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
    gone: bool = False
    """Whether the batch was deleted: nothing more will be put."""
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

    def end(self) -> None:
        """Note that the batch was deleted, and let the watchers look up."""
        self.gone = True
        self.wake()

    async def newer_than(self, revision: int) -> Snapshot | None:
        """Wait for a snapshot newer than a revision; None when woken without one."""
        if self.snapshot.revision <= revision and not self.gone:
            await self._changed.wait()
        return self.snapshot if self.snapshot.revision > revision else None


@dataclass(slots=True, eq=False)
class WatchedAccount:
    """All watchers of one account, and what each of them was told.

    Known once for all of them: a recheck costs as much for thousands as for one.
    """

    began: datetime
    looked: datetime
    """When the last whole recheck began."""
    watchers: set[AccountWatcher] = field(default_factory=set)
    living: dict[str, int] = field(default_factory=dict)
    """Of batches that had not ended, the revision that all were told; 0: only some of them."""
    ended: dict[str, datetime] = field(default_factory=dict)
    """Batches made lately whose end all were told, and when they were made."""

    def expect(self, batch_id: str) -> None:
        """Note that one of them knows a batch that has not ended."""
        if batch_id not in self.ended:
            self.living.setdefault(batch_id, 0)

    def put(self, snapshot: Snapshot) -> None:
        """Tell all of them."""
        for watcher in self.watchers:
            watcher.put(snapshot)

    def told(self, batch: Batch) -> None:
        """Note that none of them lacks anything of a batch, as it is here."""
        if batch.ended:
            self.living.pop(batch.id, None)
            self.ended[batch.id] = batch.created_at
        else:
            self.living[batch.id] = max(batch.revision, self.living.get(batch.id, 0))

    def forget(self, batch_id: str) -> None:
        """Expect nothing more of a batch: it was deleted."""
        self.living.pop(batch_id, None)
        self.ended.pop(batch_id, None)
        for watcher in self.watchers:
            watcher.forget(batch_id)

    def lacks(self, batch_id: str, revision: int) -> bool:
        """Whether a revision of a batch is news to any of them."""
        return any(watcher.lacks(batch_id, revision) for watcher in self.watchers)

    def missed(self, living: Sequence[Batch], made: Sequence[Batch], since: datetime) -> set[str]:
        """Batches to look at, of what a recheck has found: all that live, and all made `since`."""
        news = {each.id for each in living if self.living.get(each.id, 0) < each.revision}
        # What is no longer among them has ended, or there are more than one page shows.
        news |= self.living.keys() - {each.id for each in living}
        # What was made and has ended since the recheck before was among them at neither.
        news |= {each.id for each in made if each.ended and each.id not in self.ended}
        self.ended = {each: made_at for each, made_at in self.ended.items() if made_at >= since}
        return news


@dataclass(slots=True, eq=False)
class AccountWatcher:
    """One watcher of all batches of an account: the newest snapshot of each that changed."""

    account: WatchedAccount
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
            self.account.expect(snapshot.id)

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

"""The lease of a running shard, its progress, and the signs to stop."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import NamedTuple

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.ledger import Batch, LedgerUnavailable, Shard, Stale, now
from core.pipeline import PauseWatch, RunTaken, Runtime
from services.dispatcher.adaptive_concurrency import AdaptiveConcurrencyLimiter
from services.dispatcher.direct_lines import LineRun

log = structlog.get_logger()

# Checked after 5 % of the run's age, within these bounds.
_AGE_SHARE = 0.05
_LOOK_MIN = 0.5
_LOOK_MAX = 3.0
# Whether it was paused: with the age of the answer, in less than a second.
_PAUSES_LOOK = 0.25
_RENEWED_AFTER = 0.3
# The age of the last confirmed lease, as a share of the lease, from which calls confirm it anew.
_SURE_FOR = 0.6
# Of the grace at a stop; the rest is for keeping what has come.
_CALLS_SHARE = 0.8


class _Moment(NamedTuple):
    """A point in time on two clocks, one of which keeps running while the machine sleeps.

    Not the event loop's: that stands still while the loop does.
    """

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> _Moment:
        return cls(time.monotonic(), time.time())

    @property
    def age(self) -> float:
        """Seconds since then."""
        return max(time.monotonic() - self.monotonic, time.time() - self.wall)


class LeaseKeeper:
    """The lease of this dispatcher on one shard while its lines run."""

    def __init__(
        self,
        runtime: Runtime,
        shard: Shard,
        run: LineRun,
        limiter: AdaptiveConcurrencyLimiter,
        pauses: PauseWatch,
        *,
        stopping: asyncio.Event,
    ) -> None:
        """`stopping`: the process is about to end."""
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._shard = shard
        self._run = run
        self._limiter = limiter
        self._pauses = pauses
        self._stopping = stopping
        self._lease = timedelta(seconds=runtime.settings.run_lease)
        self._grace = runtime.settings.shutdown_grace * _CALLS_SHARE
        self._began = self._renewed_at = _now()
        self._sure = _Moment.now()
        self._shown = (shard.finished, shard.waiting_reason)
        self._abandon_at: float | None = None
        self._look_at = 0.0
        self.stopped = False
        """Whether the batch is being stopped, or nothing more of it is sent for good."""
        self.paused = False
        """Whether no further line may be begun for now: the run was ended for it."""

    async def confirm(self) -> None:
        """Make sure that the shard is still ours: the last thing before calls begin.

        Whoever stood still for long may find that another one has run the lines, and that
        even the log that would have said so is gone. Raises RunTaken, LedgerUnavailable.
        """
        if self._sure.age >= self._lease.total_seconds() * _SURE_FOR:
            await self._renew()

    async def _renew(self) -> None:
        looked_at, moment = _now(), _Moment.now()
        if not await self._ledger.runs.renew_lease(self._shard, self._lease):
            raise RunTaken(self._shard.id)
        self._renewed_at, self._sure = looked_at, moment

    async def keep(self, until: asyncio.Task[None]) -> None:
        """Renew the lease until a task is done. Raises RunTaken when it is lost."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while True:
                await self._wait(until, stopping)
                if until.done():
                    return
                if stopping.done():
                    self._leave()
                await self._look_at_pauses()
                if _now() >= self._look_at:
                    await self._look()
                    self._look_at = _now() + self._pause
        finally:
            stopping.cancel()

    async def _wait(self, until: asyncio.Task[None], stopping: asyncio.Task[bool]) -> None:
        pause = min(self._pause, _PAUSES_LOOK)
        if self._abandon_at is None:
            signs: set[asyncio.Task[None] | asyncio.Task[bool]] = {until, stopping}
        else:
            signs = {until}
            pause = min(pause, max(self._abandon_at - _now(), 0.0))
        await asyncio.wait(signs, timeout=pause, return_when=asyncio.FIRST_COMPLETED)

    @property
    def _pause(self) -> float:
        """Seconds between two looks at the lease."""
        age = _now() - self._began
        return min(max(age * _AGE_SHARE, _LOOK_MIN), _LOOK_MAX)

    async def _look_at_pauses(self) -> None:
        try:
            kept = await self._pauses.kept()
        except LedgerUnavailable as error:
            # Nobody can pause anything either; the lease says when to end.
            log.warning("pauses_not_read", shard_id=self._shard.id, cause=str(error))
            return
        if self._shard.batch_id in kept.halted:
            self.stopped = True
        elif self._shard.batch_id in kept.batches or self._shard.provider in kept.providers:
            self.paused = True
        if self.stopped or self.paused:
            self._run.halt()

    def _leave(self) -> None:
        """The process is ending: let the calls under way end, but not for long."""
        if self._abandon_at is None:
            self._run.halt()
            self._abandon_at = _now() + self._grace
        elif _now() >= self._abandon_at:
            self._run.abandon()
            self._abandon_at = float("inf")

    async def _look(self) -> None:
        looked_at = _now()
        try:
            batch = await self._touch()
        except LedgerUnavailable as error:
            # It may come back before the lease is over; after that, another one may hold
            # the shard, so no further call begins.
            log.warning("run_lease_unsure", shard_id=self._shard.id, cause=str(error))
            if looked_at - self._renewed_at >= self._lease.total_seconds():
                self._run.pause(True)
            return
        self._run.pause(False)
        self.stopped = batch is None or bool(batch.stop) or bool(batch.halt_code)
        if self.stopped or batch is None or batch.expires_at <= now():
            self._run.halt()

    async def _touch(self) -> Batch | None:
        """Show what is new, or renew the lease if it is time. Raises RunTaken."""
        looked_at, moment = _now(), _Moment.now()
        shown = (self._run.kept, self._reason())
        if shown != self._shown:
            batch = await self._ledger.runs.progressed(self._shard, *shown, self._lease)
            if isinstance(batch, Stale):
                raise RunTaken(self._shard.id)
            self._shown, self._renewed_at, self._sure = shown, looked_at, moment
            await self._publisher.changed(batch, BatchEvent.SHARD_PROGRESSED, self._shard)
            return batch
        if looked_at - self._renewed_at >= self._lease.total_seconds() * _RENEWED_AFTER:
            await self._renew()
        return await self._ledger.batches.get(self._shard.batch_id)

    def _reason(self) -> str:
        reason = self._run.trouble or self._limiter.reason
        return f"{self._shard.provider}: {reason}" if reason else ""


def _now() -> float:
    return asyncio.get_running_loop().time()

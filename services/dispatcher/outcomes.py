"""What becomes of a shard when a step of its submission is over: the moves that all of them share.

In: a shard and what was learned of it. Out: the ledger's transition, its announcement, and
when to come back. What can go wrong: somebody else has moved the shard since (Stale), which is
theirs to conclude.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.backoff import SPREAD
from core.bus import Ack, Snooze, Step
from core.ledger import (
    Batch,
    EnoughNow,
    Figures,
    File,
    NotHeld,
    OverQuota,
    Room,
    Settlement,
    Shard,
    Stale,
    now,
    usd,
)
from core.pipeline import (
    Allowance,
    ProviderKeys,
    RemoteFileCleanup,
    Runtime,
    Settler,
    TokenQuotas,
    WaitingForFunds,
    first_look,
)
from core.providers import CredentialHold, Registry
from services.dispatcher.cost_limit import Cut
from services.dispatcher.cutting import cut, lines_within, weights_of

log = structlog.get_logger()

_QUOTA_PAUSE = 60.0
_FUNDS_PAUSE = 60.0
_SPREAD_PAUSE = 60.0
# What was paused a moment ago may be remembered for as long.
_RESUMED_PAUSE = 0.3
_NOT_RECKONED = Figures()


class ShardOutcomes:
    """Moves a shard on, back into the queue, or to its end."""

    def __init__(self, runtime: Runtime, providers: Registry, keys: ProviderKeys) -> None:
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._publisher = runtime.publisher
        self._settings = runtime.settings
        self._keys = keys
        self._settler = Settler(runtime)
        self.quotas = TokenQuotas(runtime)
        self.waiting_for_funds = WaitingForFunds(runtime.ledger, runtime.publisher)
        self.remote_files = RemoteFileCleanup(runtime, providers)

    async def adopt(self, shard: Shard, remote_id: str, remote_file_id: str) -> Ack:
        """Its provider has a batch for it: look at that when it may be done."""
        expected = await self._ledger.durations.of(shard.provider, shard.remote_model)
        poll_at = now() + timedelta(seconds=first_look(shard.id, expected, self._settings))
        shard.remote_id = remote_id
        batch = await self._ledger.shards.submitted(shard, remote_id, remote_file_id, poll_at)
        await self.announce(batch, BatchEvent.SHARD_SUBMITTED, shard)
        if isinstance(batch, Batch):
            await self._publisher.enqueue(Step.POLL, shard.batch_id, shard.id)
            if batch.stop:
                await self._publisher.enqueue(Step.STOP, shard.batch_id)
        else:
            await self._tell_if_unknown(shard, remote_id)
        return Ack()

    async def _tell_if_unknown(self, shard: Shard, remote_id: str) -> None:
        """Name a batch that runs, and is paid for, for nobody: no other trace of it is left.

        Somebody else may have noted it before. But a ledger that came from a back-up, or from a
        standby that had not heard of the attempt yet, sends the shard once more.
        """
        fresh = await self._ledger.shards.get(shard.id)
        if fresh is None or (fresh.token != shard.token and fresh.remote_id != remote_id):
            log.error(
                "batch_not_in_ledger",
                batch_id=shard.batch_id,
                shard_id=shard.id,
                provider=shard.provider,
                remote_id=remote_id,
            )

    async def hold(self, shard: Shard) -> Ack | Snooze:
        """Stay queued, or as a run that nobody runs, until a pause is over: it is woken then."""
        held = await self._ledger.pauses.hold(shard)
        if isinstance(held, NotHeld | Stale):
            # Resumed, stopped, halted, or somebody else's: that is seen when it is looked at again.
            return Snooze(_RESUMED_PAUSE)
        if isinstance(held, Batch):
            log.info("shard_held", batch_id=shard.batch_id, shard_id=shard.id)
            await self._publisher.changed(held, BatchEvent.SHARD_WAITING, shard)
        return Ack()

    async def wait_for_room(self, shard: Shard, figures: Figures, room: Room) -> Ack | Snooze:
        """Stay queued, and be woken when one of its batch has settled, unless one just has."""
        until = now() + timedelta(seconds=_FUNDS_PAUSE)
        batch = await self._ledger.stop_loss.wait(shard, figures, _for_room(room), until)
        if isinstance(batch, Batch):
            await self._publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)
        return Snooze(0.0) if isinstance(batch, Room) else Ack()

    async def wait_for_quota(
        self,
        shard: Shard,
        allowance: Allowance,
        full: OverQuota,
        figures: Figures = _NOT_RECKONED,
    ) -> Ack | Snooze:
        """Stay queued, and be woken when it is its turn.

        Of all that wait for a model one message sleeps: that of the next probe.
        """
        reason = (
            f"waits for quota under {shard.provider}'s limit of {allowance.limit:,} enqueued "
            f"tokens for {shard.remote_model}"
        )
        until = now() + timedelta(seconds=_QUOTA_PAUSE)
        batch = await self._ledger.shards.wait_for_quota(shard, reason, until, figures)
        if isinstance(batch, Batch):
            await self._publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)
        if full.first is not None:
            await self.quotas.enqueue_next(shard.provider, shard.remote_model)
        if full.look_at is not None and not isinstance(batch, Stale):
            return Snooze(max((full.look_at - now()).total_seconds(), 0.0))
        return Ack()

    async def wait_for_funds(
        self, shard: Shard, *, expected_nanos: int, at_most_nanos: int
    ) -> Ack | Snooze:
        """Stay queued until it can be paid for; it is woken then. What it will cost is kept."""
        now_waits = await self._ledger.funds.wait(
            shard,
            now() + timedelta(seconds=_FUNDS_PAUSE),
            expected_nanos=expected_nanos,
            at_most_nanos=at_most_nanos,
        )
        if isinstance(now_waits, EnoughNow):
            return Snooze(0.0)
        if isinstance(now_waits, tuple):
            batch, lacking = now_waits
            if batch is not None:
                log.info(
                    "shard_waits_for_funds",
                    batch_id=shard.batch_id,
                    shard_id=shard.id,
                    purse=lacking.purse.value,
                )
                await self._publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)
        return Ack()

    async def wait_for_provider(self, shard: Shard, hold: CredentialHold) -> Ack | Snooze:
        """Stay queued until a call may be made, before anything is translated for nothing."""
        # Spread, for all that wait are held up to one moment.
        pause = hold.left + random.uniform(0.0, SPREAD) * min(hold.left, _SPREAD_PAUSE)
        reason = f"{shard.provider}: {hold}"
        if reason != shard.waiting_reason:
            return await self.requeue(shard, reason, pause)
        until = now() + timedelta(seconds=pause)
        return Snooze(pause) if await self._ledger.shards.postpone(shard, until) else Ack()

    async def wait_for_key(
        self, shard: Shard, batch: Batch | None, code: str, message: str
    ) -> Ack | Snooze:
        """Stay queued until the provider takes the key, unless the batch is to fail fast."""
        if batch is not None and batch.fail_fast:
            return await self.give_up(shard, code, message)
        reason = self._keys.say(shard.provider, code)
        return await self.requeue(shard, reason, self._settings.refused_pause)

    async def requeue(
        self, shard: Shard, reason: str, pause: float, **refusal: Any
    ) -> Ack | Snooze:
        """Queue it again. `refusal`: as of Shards.requeue."""
        until = now() + timedelta(seconds=pause)
        batch = await self._ledger.shards.requeue(shard, reason, until, **refusal)
        await self.announce(batch, BatchEvent.SHARD_WAITING, shard)
        if isinstance(batch, Stale):
            return Ack()
        if batch.stop:
            await self._publisher.enqueue(Step.STOP, shard.batch_id)
            return Ack()
        await self._settler.wake_waiting(batch)
        return Snooze(pause)

    async def cut(
        self, shard: Shard, file: File, *, fitting: int = 0, allowance: Allowance | None = None
    ) -> Ack:
        """Replace a shard that is over a limit by one that fits and one for the rest.

        `fitting`: lines of the first; else as many as the allowance has room for in a piece.
        """
        records = await self._blobs.get(shard.lines_key)
        weights = await weights_of(shard, records, file, self._blobs)
        if allowance is not None and allowance.piece_bytes is not None:
            media_bytes = allowance.quota.media_factor * allowance.quota.bytes_per_token
            fitting = lines_within(records, allowance.piece_bytes, weights, media_bytes)
        successors = await cut(shard, records, fitting, weights, self._blobs)
        log.info("shard_split", batch_id=shard.batch_id, shard_id=shard.id, fitting=fitting)
        return await self.settle(shard, Settlement(0, 0, retried=shard.line_count), successors)

    async def cut_to_cost(self, shard: Shard, file: File, found: Cut) -> Ack:
        """Replace a shard that could cost too much by one that may go now, and one that waits."""
        records = await self._blobs.get(shard.lines_key)
        weights = await weights_of(shard, records, file, self._blobs)
        first, rest = await cut(shard, records, found.fitting, weights, self._blobs)
        first.expected_nanos, first.at_most_nanos = found.first
        rest.expected_nanos, rest.at_most_nanos = found.rest
        rest.waits_for_funds, rest.waiting_reason = True, _for_room(found.room)
        rest.due_at = now() + timedelta(seconds=_FUNDS_PAUSE)
        log.info(
            "shard_cut_to_cost",
            batch_id=shard.batch_id,
            shard_id=shard.id,
            fitting=found.fitting,
            lines=shard.line_count,
        )
        settlement = Settlement(0, 0, retried=shard.line_count)
        return await self.settle(shard, settlement, [first, rest])

    async def give_up(self, shard: Shard, code: str, message: str) -> Ack:
        """Fail every line of the shard for good: nothing of it was or will be run."""
        return await self.settle(shard, Settlement.filled(shard.line_count, code, message))

    async def settle(
        self, shard: Shard, settlement: Settlement, successors: Sequence[Shard] = ()
    ) -> Ack:
        """Give its lines their outcome; `successors` take over those that are retried."""
        if await self._settler.settle(shard, settlement, successors):
            await self.remote_files.discard(shard)
        return Ack()

    async def announce(self, batch: Batch | Stale, kind: BatchEvent.Kind, shard: Shard) -> None:
        """Tell of a transition, unless it was somebody else's."""
        if isinstance(batch, Batch):
            await self._publisher.changed(batch, kind, shard)


def _for_room(room: Room) -> str:
    return f"waits for room under its max cost of {usd(room.max_cost)} USD"

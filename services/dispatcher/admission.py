"""The submit step before anything is translated: whether a queued shard may go.

Asked in this order, each with what becomes of a shard that may not: a halt of its batch (it ends),
a pause or its batch's canary (it is held), a key that the provider takes, a provider that wants no
calls, the quota of enqueued tokens (it waits, or is cut), and what it will cost (likewise). All of
it spares work that would be thrown away; what counts is asked once more in the transaction that
lets the shard go (`Shards.intend`).

In: a queued shard. Out: what it may ask for and what it will cost, or an item that is done with.
What can go wrong: no database: the item comes back.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.bus import Ack, Snooze
from core.ledger import Batch, Figures, File, Settlement, Shard, ShardPurpose, not_sent
from core.pipeline import Allowance, PauseWatch, ProviderKeys, Runtime
from core.providers import CredentialHold, DirectProvider, DirectRegistry, Provider
from services.dispatcher.cost_limit import CostLimit, Cut, Parted, Waits
from services.dispatcher.cutting import part_oversized
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.outcomes import ShardOutcomes


class Admission:
    """What may keep a shard from being sent. The ledger decides."""

    def __init__(
        self,
        runtime: Runtime,
        direct: DirectRegistry,
        scheduler: FairScheduler,
        keys: ProviderKeys,
        cost_limit: CostLimit,
        pauses: PauseWatch,
        holds: Mapping[str, CredentialHold],
        outcomes: ShardOutcomes,
    ) -> None:
        """`holds`: by provider."""
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._segment_bytes = runtime.settings.segment_bytes
        self._direct = direct
        self._scheduler = scheduler
        self._keys = keys
        self._cost_limit = cost_limit
        self._pauses = pauses
        self._holds = holds
        self._outcomes = outcomes

    async def input(self, shard: Shard) -> tuple[Batch | None, File | None]:
        """Its batch, and the file of its lines; None for what is gone."""
        batch = await self._ledger.batches.get(shard.batch_id)
        return batch, await self._ledger.files.get_input(batch) if batch else None

    async def kept_back(self, shard: Shard, batch: Batch) -> Ack | Snooze | None:
        """What became of a shard whose batch or provider sends nothing; None: it may go."""
        if batch.halt_code and not batch.stop:
            return await self._outcomes.settle(
                shard,
                Settlement.filled(
                    shard.line_count, batch.halt_code, not_sent(batch.halt_message), withheld=True
                ),
            )
        return await self.hold(shard) if await self._pauses.keep(batch, shard) else None

    async def hold(self, shard: Shard) -> Ack | Snooze:
        """Hold it until a pause is over, and let the next one have its turn."""
        held = await self._outcomes.hold(shard)
        called = shard.provider in self._direct or shard.purpose == ShardPurpose.RESCUE
        if shard.waits_for_quota and called:
            await self._scheduler.enqueue_next(shard)
        elif shard.waits_for_quota:
            await self._outcomes.quotas.enqueue_next(shard.provider, shard.remote_model)
        if shard.waits_for_funds:
            await self._outcomes.waiting_for_funds.next(shard.account_id)
        return held

    async def allowance(
        self, shard: Shard, batch: Batch, file: File, provider: Provider
    ) -> Allowance | Ack | Snooze:
        """What a shard may ask its provider for, if that takes it now; else what became of it."""
        refused = await self._keys.refusal(provider, fresh=batch.fail_fast)
        if refused is not None:
            return await self._outcomes.wait_for_key(shard, batch, *refused)
        hold = self._holds.get(shard.provider)
        # What waits for quota has its turn in another order, and one at a time.
        if hold is not None and hold.long and not shard.waits_for_quota:
            return await self._outcomes.wait_for_provider(shard, hold)
        allowance = await self._outcomes.quotas.allowance(shard)
        if not shard.waits_for_quota:
            parted = await part_oversized(
                shard,
                allowance,
                batch=batch,
                file=file,
                blobs=self._blobs,
                segment_bytes=self._segment_bytes,
            )
            if parted is not None:
                return await self._outcomes.settle(shard, *parted)
        full = await self._outcomes.quotas.full(shard, allowance)
        if full is not None:
            return await self._outcomes.wait_for_quota(shard, allowance, full)
        if allowance.piece_bytes is not None:
            # Not before a piece can go: by then the limit may be another one.
            return await self._outcomes.cut(shard, file, allowance=allowance)
        return allowance

    async def figures(
        self, shard: Shard, batch: Batch, file: File, provider: Provider | DirectProvider
    ) -> Figures | Ack | Snooze:
        """What a shard will cost, if it may cost that; else what became of it."""
        found = await self._cost_limit.look(shard, batch, file, provider.remote_model)
        match found:
            case Waits(figures, room):
                return await self._outcomes.wait_for_room(shard, figures, room)
            case Cut():
                return await self._outcomes.cut_to_cost(shard, file, found)
            case Parted(settlement, left):
                return await self._outcomes.settle(shard, settlement, left)
        return found

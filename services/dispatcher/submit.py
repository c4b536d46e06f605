"""The submit step: bring a shard to its provider, and never twice.

    may it go? --> translate --> intend --> upload, dispatch, create --> accepted, refused, unknown
    admission.py   request_file.py          send.py                                    reconcile.py

The intent (attempt token, time, count, digest, credential) is committed before the first
byte leaves, and the create is marked as dispatched in the ledger before it is sent. An
attempt that was never dispatched is reverted to queued as soon as its lease is over. A
create is never repeated by itself: what is unknown is looked up at the provider by the
token, and sent again only when it is sure that nothing was created. Decision 13 has the
reasons; "From QUEUED to SUBMITTED" in docs/architecture.md, what a crash leaves and who may
put a shard back.

In: the id of a shard that waits, or whose attempt has no known end (reconcile.py). Out: an
attempt that is committed and handed to send.py, or a shard that waits, is cut, or ends without
being sent. What can go wrong: no disk, no database: the item comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog
from polybatch.v1.events_pb2 import WorkItem

from core.bus import Ack, Delivery, Snooze
from core.ledger import (
    Batch,
    Figures,
    File,
    Held,
    NoFunds,
    OverMaxCost,
    OverQuota,
    Settlement,
    Shard,
    ShardPurpose,
    ShardState,
    Stale,
    new_token,
    now,
)
from core.pipeline import (
    Allowance,
    LateShards,
    PauseWatch,
    ProviderKeys,
    Runtime,
)
from core.providers import (
    CredentialHold,
    DirectProvider,
    DirectRegistry,
    Provider,
    Registry,
    Upload,
)
from services.dispatcher.admission import Admission
from services.dispatcher.cost_limit import CostLimit
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.outcomes import ShardOutcomes
from services.dispatcher.reconcile import Reconciler
from services.dispatcher.request_file import Overfull, write_request_file
from services.dispatcher.reusable_upload import kept_upload
from services.dispatcher.send import Sender
from services.dispatcher.spool_folder import remove_stale_spools, spool_file
from services.dispatcher.turns import FairLock

log = structlog.get_logger()

_GONE = ("input_file_missing", "The input file is gone.")


class Submitter:
    """Handles the submit step."""

    def __init__(
        self,
        runtime: Runtime,
        providers: Registry,
        direct: DirectRegistry,
        scheduler: FairScheduler,
        credentials: Mapping[str, str],
        keys: ProviderKeys,
        cost_limit: CostLimit,
        pauses: PauseWatch,
        calls: DirectRegistry = MappingProxyType({}),
        holds: Mapping[str, CredentialHold] = MappingProxyType({}),
    ) -> None:
        """`calls`: of providers with batches, for rescues. `credentials`:
        KnownProviders.credentials; `holds`: of these, by provider."""
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._publisher = runtime.publisher
        self._settings = runtime.settings
        self._providers = providers
        self._direct = direct
        self._calls = calls
        self._credentials = credentials
        self._lease = self._settings.submit_lease_span
        self._scheduler = scheduler
        self._late = LateShards(runtime, providers)
        self._outcomes = ShardOutcomes(runtime, providers, keys)
        self._admission = Admission(
            runtime, direct, scheduler, keys, cost_limit, pauses, holds, self._outcomes
        )
        self._sender = Sender(runtime, keys, self._outcomes)
        self._reconciler = Reconciler(runtime, credentials, self._outcomes)
        # One shard is translated at a time, while others are sent: it is CPU-bound, so
        # interleaving would delay all of them and keep every buffer alive.
        self._translating = FairLock()
        self._settings.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_stale_spools(self._settings.spool_dir)

    async def handle(self, item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        """Bring the shard one step on."""
        shard = await self._ledger.shards.get(item.shard_id)
        if shard is None or shard.state not in (ShardState.QUEUED, ShardState.SUBMITTING):
            return Ack()
        wait = (shard.due_at - now()).total_seconds()
        woken = shard.waits_for_quota or shard.waits_for_funds or shard.held
        outage_retry = wait > 0 and bool(shard.waiting_reason) and not woken
        if shard.state == ShardState.QUEUED and outage_retry:
            return Snooze(wait)
        if shard.waits_for_funds and await self._ledger.funds.lacking(shard) is not None:
            # Before its lines are read and translated, which may take long.
            return await self._outcomes.wait_for_funds(
                shard, expected_nanos=shard.expected_nanos, at_most_nanos=shard.at_most_nanos
            )
        if shard.state == ShardState.SUBMITTING:
            return await self._find_out(shard, wait)
        rescue = shard.purpose == ShardPurpose.RESCUE
        direct = (self._calls if rescue else self._direct).get(shard.provider)
        if direct is not None:
            return await self._start(shard, direct)
        provider = self._providers.get(shard.provider)
        if provider is None:
            return await self._outcomes.give_up(
                shard,
                "provider_not_configured",
                f"This installation has no access to the provider {shard.provider!r}.",
            )
        return await self._send(shard, provider)

    async def _find_out(self, shard: Shard, wait: float) -> Ack | Snooze:
        """See what became of an attempt that somebody holds, or held until he died."""
        if wait > 0:
            return Snooze(wait)
        if await self._late.over(shard):
            return Ack()
        return await self._reconciler.reconcile(shard, self._providers.get(shard.provider))

    async def _start(self, shard: Shard, provider: DirectProvider) -> Ack | Snooze:
        """Let a shard run here, or wait for its turn or for room."""
        batch, file = await self._admission.input(shard)
        if batch is None or file is None:
            return await self._outcomes.give_up(shard, *_GONE)
        if (kept_back := await self._admission.kept_back(shard, batch)) is not None:
            return kept_back
        figures = await self._admission.figures(shard, batch, file, provider)
        if not isinstance(figures, Figures):
            return figures
        lacking = await self._scheduler.start(shard, provider, figures)
        if isinstance(lacking, OverMaxCost):
            return await self._outcomes.wait_for_room(shard, figures, lacking.room)
        if isinstance(lacking, NoFunds):
            return await self._outcomes.wait_for_funds(shard, **figures._asdict())
        if isinstance(lacking, Held):
            return await self._admission.hold(shard)
        return Ack()

    def _is_rescued(self, shard: Shard, batch: Batch) -> bool:
        calls = self._calls.get(shard.provider) if batch.rescue_started_at else None
        return calls is not None and batch.endpoint in calls.limits.endpoints

    async def _send(self, shard: Shard, provider: Provider) -> Ack | Snooze:
        """Let a shard go to its provider, if nothing keeps it back."""
        batch, file = await self._admission.input(shard)
        if batch is None or file is None:
            return await self._outcomes.give_up(shard, *_GONE)
        if (kept_back := await self._admission.kept_back(shard, batch)) is not None:
            return kept_back
        if shard.purpose == ShardPurpose.RESCUE or self._is_rescued(shard, batch):
            # The collector has its lines called one by one, or expire.
            return Ack()
        allowance = await self._admission.allowance(shard, batch, file, provider)
        if not isinstance(allowance, Allowance):
            return allowance
        figures = await self._admission.figures(shard, batch, file, provider)
        if not isinstance(figures, Figures):
            return figures
        uploaded = kept_upload(shard, provider, self._credentials.get(shard.provider, ""))
        if uploaded is not None:
            return await self._send_again(shard, provider, uploaded, allowance, figures)
        return await self._send_anew(shard, batch, file, provider, allowance, figures)

    async def _send_anew(
        self,
        shard: Shard,
        batch: Batch,
        file: File,
        provider: Provider,
        allowance: Allowance,
        figures: Figures,
    ) -> Ack | Snooze:
        """Translate its lines into a file of requests, and send that."""
        token = new_token()
        with spool_file(self._settings.spool_dir, f"{shard.id}-{token}") as path:
            async with self._translating.turn(shard.account_id, shard.priority):
                spooled = await write_request_file(
                    path,
                    batch=batch,
                    shard=shard,
                    file=file,
                    token=token,
                    provider=provider,
                    blobs=self._blobs,
                    segment_bytes=self._settings.segment_bytes,
                    reserve=self._settings.work_reserve,
                )
            if isinstance(spooled, Overfull):
                return await self._outcomes.cut(shard, file, fitting=spooled.fitting)
            if not spooled.lines:
                return await self._outcomes.settle(
                    shard,
                    Settlement(0, shard.line_count, results_prefix=spooled.rejects_prefix),
                )
            return await self._attempt(
                shard,
                provider,
                path,
                allowance,
                figures,
                token=token,
                sent_lines=spooled.lines,
                sent_bytes=spooled.size,
                sent_sha256=spooled.sha256,
                rejects_prefix=spooled.rejects_prefix,
            )

    async def _send_again(
        self,
        shard: Shard,
        provider: Provider,
        kept: Upload,
        allowance: Allowance,
        figures: Figures,
    ) -> Ack | Snooze:
        """Send what an earlier attempt has uploaded: only the refused create is repeated."""
        return await self._attempt(
            shard,
            provider,
            kept,
            allowance,
            figures,
            token=new_token(),
            file_token=shard.file_token,
            sent_lines=shard.sent_lines,
            sent_bytes=shard.sent_bytes,
            sent_sha256=shard.sent_sha256,
            rejects_prefix=shard.rejects_prefix,
        )

    async def _attempt(
        self,
        shard: Shard,
        provider: Provider,
        source: Path | Upload,
        allowance: Allowance,
        figures: Figures,
        **sent: Any,
    ) -> Ack | Snooze:
        """Commit the intent, send, and conclude. `sent`: as of Shards.intend."""
        intended = await self._ledger.shards.intend(
            shard.id,
            remote_model=provider.remote_model(shard.model),
            credential=self._credentials.get(shard.provider, ""),
            lease=self._lease,
            tokens=allowance.tokens,
            limited=allowance.limit is not None,
            ceiling=allowance.ceiling,
            **figures._asdict(),
            **sent,
        )
        if isinstance(intended, OverQuota):
            return await self._outcomes.wait_for_quota(shard, allowance, intended, figures)
        if isinstance(intended, OverMaxCost):
            return await self._outcomes.wait_for_room(shard, figures, intended.room)
        if isinstance(intended, NoFunds):
            return await self._outcomes.wait_for_funds(shard, **figures._asdict())
        if isinstance(intended, Held):
            return await self._admission.hold(shard)
        if isinstance(intended, Stale):
            return Ack()
        if shard.waits_for_funds:
            await self._outcomes.waiting_for_funds.next(shard.account_id)
        if allowance.limit is not None:
            # There may be room for one more.
            await self._outcomes.quotas.enqueue_next(shard.provider, shard.remote_model)
        return await self._sender.send(intended, provider, source)

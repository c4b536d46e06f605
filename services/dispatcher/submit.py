"""Step 3 of a batch's way: bring a shard to its provider, and never twice.

    durable intent --> upload --> let go --> create --> accepted | refused | unknown

The intent (attempt token, time, count, digest, credential) is committed before the first
byte leaves, and the create is let go in the ledger before it is sent. An attempt that was
never let go is taken back as soon as its lease is over. A create is never repeated by
itself: what is unknown is looked up at the provider by the token, and sent again only
when it is sure that nothing was created. Decision 13 has the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus import Again, Delivery, Done, Step
from core.ledger import (
    Batch,
    LedgerUnavailable,
    NoRoom,
    Settlement,
    Shard,
    ShardState,
    Stale,
    new_token,
    now,
)
from core.pipeline import (
    Allowance,
    Backbone,
    LateShards,
    ProviderKeys,
    Settler,
    TokenBudgets,
    UploadedInputs,
    first_look,
    kept,
    late_interval,
)
from core.providers import (
    Absent,
    Accepted,
    DirectRegistry,
    FindOutcome,
    Found,
    Intent,
    NotOurs,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    Registry,
    SubmitOutcome,
    Unknown,
    Unsure,
    Upload,
)
from services.dispatcher.cutting import cut, lines_within, part_overlong
from services.dispatcher.inputs import kept_upload
from services.dispatcher.spool import Overfull, write_spool
from services.dispatcher.spool_files import remove_stale_spools, spool_file
from services.dispatcher.turns import Turns

log = structlog.get_logger()

_ROOM_PAUSE = 60.0
# Beyond the time that an adapter promises to take: it may be a stranger's.
_OVERTIME = 10.0
_FIRST_RECORD_PAUSE = 0.5
_LONGEST_RECORD_PAUSE = 5.0


class Submitter:
    """Handles the submit step."""

    def __init__(
        self,
        backbone: Backbone,
        providers: Registry,
        direct: DirectRegistry,
        turns: Turns,
        credentials: Mapping[str, str],
        keys: ProviderKeys,
    ) -> None:
        """`credentials`: KnownProviders.credentials."""
        self._ledger = backbone.ledger
        self._blobs = backbone.blobs
        self._announcer = backbone.announcer
        self._settings = backbone.settings
        self._providers = providers
        self._direct = direct
        self._credentials = credentials
        self._lease = self._settings.submit_lease_span
        self._turns = turns
        self._keys = keys
        self._late = LateShards(backbone, providers)
        self._settler = Settler(backbone)
        self._budgets = TokenBudgets(backbone)
        self._inputs = UploadedInputs(backbone, providers)
        # One shard is translated at a time, while others travel: it is the work of one
        # thread, and by turns all of them would be late, and hold their buffers.
        self._translating = asyncio.Lock()
        self._settings.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_stale_spools(self._settings.spool_dir)

    async def handle(self, item: WorkItem, _delivery: Delivery) -> Done | Again:
        """Bring the shard one step on."""
        shard = await self._ledger.shards.get(item.shard_id)
        if shard is None or shard.state not in (ShardState.QUEUED, ShardState.SUBMITTING):
            return Done()
        wait = (shard.due_at - now()).total_seconds()
        pausing = wait > 0 and bool(shard.waiting_reason) and not shard.waits_for_room
        if shard.state == ShardState.QUEUED and pausing:
            return Again(wait)
        direct = self._direct.get(shard.provider)
        if shard.state == ShardState.QUEUED and direct is not None:
            await self._turns.start(shard, direct)
            return Done()
        provider = self._providers.get(shard.provider)
        if provider is None:
            return await self._give_up(
                shard,
                "provider_not_configured",
                f"This installation has no access to the provider {shard.provider!r}.",
            )
        if shard.state == ShardState.SUBMITTING:
            if wait > 0:
                return Again(wait)
            return (
                Done() if await self._late.over(shard) else await self._reconcile(shard, provider)
            )
        return await self._send(shard, provider)

    async def _send(self, shard: Shard, provider: Provider) -> Done | Again:
        batch = await self._ledger.batches.get(shard.batch_id)
        file = await self._ledger.files.get_input(batch) if batch else None
        if batch is None or file is None:
            return await self._give_up(shard, "input_file_missing", "The input file is gone.")
        refused = await self._keys.refusal(provider, fresh=batch.fail_fast)
        if refused is not None:
            return await self._wait_for_key(shard, batch, *refused)
        allowance = await self._budgets.allowance(shard)
        if not shard.waits_for_room:
            parted = await part_overlong(
                shard,
                allowance,
                batch=batch,
                file=file,
                blobs=self._blobs,
                segment_bytes=self._settings.segment_bytes,
            )
            if parted is not None:
                return await self._settle(shard, *parted)
        full = await self._budgets.full(shard, allowance)
        if full is not None:
            return await self._wait_for_room(shard, allowance, full)
        if allowance.piece_bytes is not None:
            # Not before a piece can go: by then the limit may be another one.
            return await self._cut(shard, piece_bytes=allowance.piece_bytes)
        kept = kept_upload(shard, provider, self._credentials.get(shard.provider, ""))
        if kept is not None:
            return await self._send_again(shard, provider, kept, allowance)
        token = new_token()
        with spool_file(self._settings.spool_dir, f"{shard.id}-{token}") as path:
            async with self._translating:
                spooled = await write_spool(
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
                return await self._cut(shard, fitting=spooled.fitting)
            if not spooled.lines:
                return await self._settle(
                    shard,
                    Settlement(0, shard.line_count, results_prefix=spooled.rejects_prefix),
                )
            return await self._attempt(
                shard,
                provider,
                path,
                allowance,
                token=token,
                sent_lines=spooled.lines,
                sent_bytes=spooled.size,
                sent_sha256=spooled.sha256,
                rejects_prefix=spooled.rejects_prefix,
            )

    async def _send_again(
        self, shard: Shard, provider: Provider, kept: Upload, allowance: Allowance
    ) -> Done | Again:
        """Send what an earlier attempt has uploaded: only the refused create is repeated."""
        return await self._attempt(
            shard,
            provider,
            kept,
            allowance,
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
        **sent: Any,
    ) -> Done | Again:
        """Commit the intent, send, and conclude. `sent`: as of Shards.intend."""
        intended = await self._ledger.shards.intend(
            shard.id,
            remote_model=provider.remote_model(shard.model),
            credential=self._credentials.get(shard.provider, ""),
            lease=self._lease,
            tokens=allowance.tokens,
            limited=allowance.limit is not None,
            ceiling=allowance.ceiling,
            **sent,
        )
        if isinstance(intended, NoRoom):
            return await self._wait_for_room(shard, allowance, intended)
        if isinstance(intended, Stale):
            return Done()
        if allowance.limit is not None:
            # There may be room for one more.
            await self._budgets.wake_next(shard.provider, shard.remote_model)
        outcome = await self._submit(intended, provider, source)
        return Done() if outcome is None else await self._recorded(intended, outcome)

    async def _submit(
        self, shard: Shard, provider: Provider, source: Path | Upload
    ) -> SubmitOutcome | None:
        """Send an attempt; None when it was somebody else's before its create was let go."""
        uploaded = ""

        async def gate(upload: Upload) -> None:
            nonlocal uploaded
            uploaded = upload.remote_file_id
            if not await self._ledger.shards.sending(
                shard, self._lease, remote_file_id=uploaded, strays=upload.strays
            ):
                raise NotOurs(shard.id)

        renew = partial(self._ledger.shards.keep, shard)
        try:
            async with (
                kept(renew, self._lease),
                asyncio.timeout(self._settings.provider_timeout + _OVERTIME),
            ):
                return await provider.submit(intent_of(shard), source, gate=gate)
        except NotOurs:
            log.warning("attempt_taken_back", batch_id=shard.batch_id, shard_id=shard.id)
            fresh = await self._ledger.shards.get(shard.id)
            if uploaded and isinstance(source, Path) and fresh and fresh.settled_at:
                # Whoever had the shard since is done with it, and may have been so before our
                # upload was there. Until then what it left is known to the ledger.
                await self._inputs.delete(shard)
            return None
        except TimeoutError:
            return Unknown("the provider's adapter did not end in time")
        except asyncio.CancelledError:
            # We are being stopped between the first byte and the answer: let the next
            # dispatcher look at once instead of waiting the lease out.
            await asyncio.shield(
                self._ledger.shards.hold(shard, "the dispatcher was stopped", now(), quiet=True)
            )
            raise

    async def _recorded(self, shard: Shard, outcome: SubmitOutcome) -> Done | Again:
        """Conclude, however long the database is away.

        Nobody else knows the answer: without it the next one has to ask the provider, and
        some can tell only once their batch has ended.
        """
        pause = _FIRST_RECORD_PAUSE
        while True:
            try:
                return await self._conclude(shard, outcome)
            except LedgerUnavailable as error:
                log.warning(
                    "submission_not_recorded",
                    batch_id=shard.batch_id,
                    shard_id=shard.id,
                    outcome=type(outcome).__name__,
                    retry_in=pause,
                    cause=str(error),
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_RECORD_PAUSE)

    async def _conclude(self, shard: Shard, outcome: SubmitOutcome) -> Done | Again:
        ids = {"batch_id": shard.batch_id, "shard_id": shard.id, "provider": shard.provider}
        match outcome:
            case Accepted(remote_id=remote_id, remote_file_id=remote_file_id):
                log.info("shard_submitted", **ids, remote_id=remote_id, lines=shard.sent_lines)
                return await self._adopt(shard, remote_id, remote_file_id)
            case Refused(access=True) as refused:
                self._keys.note(shard.provider, refused.code, refused.message)
                batch = await self._ledger.batches.get(shard.batch_id)
                return await self._wait_for_key(shard, batch, refused.code, refused.message)
            case Refused(passing=True) as refused:
                over_limit = await self._budgets.learn(shard, refused)
                pause = self._budgets.pause(shard, refused)
                log.info("shard_refused_for_now", **ids, code=refused.code, pause=pause)
                reason = f"{refused.code}: {refused.message}"
                return await self._requeue(
                    shard,
                    reason,
                    pause,
                    over_limit=over_limit,
                    remote_file_id=refused.upload.remote_file_id,
                    strays=refused.upload.strays,
                    input_lost=refused.input_lost,
                )
            case Refused() as refused:
                log.warning("shard_refused", **ids, code=refused.code)
                done = await self._give_up(shard, refused.code, refused.message)
                if refused.upload.strays and not refused.upload.remote_file_id:
                    # It never came to the gate, so the ledger does not know.
                    await self._inputs.delete(shard)
                return done
            case Unknown(message=message):
                log.warning("shard_outcome_unknown", **ids, cause=message)
                pause = self._settings.unreachable_pause
                until = now() + timedelta(seconds=pause)
                held = await self._ledger.shards.hold(shard, message, until, quiet=True)
                await self._announce(held, BatchEvent.SHARD_WAITING, shard)
                return Again(pause)

    async def _reconcile(self, shard: Shard, provider: Provider) -> Done | Again:
        """Find out what became of an attempt that nobody knows the end of."""
        if shard.sending_at is None:
            taken = await self._ledger.shards.take_back(shard)
            log.info("shard_taken_back", batch_id=shard.batch_id, shard_id=shard.id)
            await self._announce(taken, BatchEvent.SHARD_WAITING, shard)
            return Done() if isinstance(taken, Stale) else Again(0.0)
        outcome = await self._look(shard, provider)
        log.info(
            "shard_reconciled",
            batch_id=shard.batch_id,
            shard_id=shard.id,
            outcome=type(outcome).__name__,
        )
        match outcome:
            case Found(remote_id=remote_id, remote_file_id=remote_file_id):
                return await self._adopt(shard, remote_id, remote_file_id)
            case Absent() if shard.given_up:
                settled = await self._ledger.late.never_sent(shard)
                await self._announce(settled, BatchEvent.SHARD_SETTLED, shard)
                await self._announcer.wake(Step.ASSEMBLE, shard.batch_id)
                return Done()
            case Absent():
                return await self._requeue(shard, "", 0.0)
            case Unsure(message=message):
                pause = outcome.retry_after or self._settings.unreachable_pause
                if shard.given_up:
                    pause = max(pause, late_interval(shard, self._settings))
                until = now() + timedelta(seconds=pause)
                held = await self._ledger.shards.hold(shard, message, until)
                await self._announce(held, BatchEvent.SHARD_WAITING, shard)
                return Done() if isinstance(held, Stale) else Again(pause)

    async def _look(self, shard: Shard, provider: Provider) -> FindOutcome:
        """Ask the provider for the batch of an attempt that was let go."""
        assert shard.sending_at is not None
        intent = intent_of(shard)
        since = intent.intended_at - timedelta(days=1)
        known = await self._ledger.shards.remote_ids(shard.provider, since)
        # Whoever let it go has had so long to send it and to hear of it.
        timeout = timedelta(seconds=self._settings.provider_timeout)
        quiet = shard.quiet_at or shard.sending_at + timeout
        try:
            outcome = await provider.find(intent, known, quiet_since=quiet)
        except (ProviderUnavailable, ProviderRejected) as error:
            return Unsure(f"{shard.provider}: {error}")
        same_key = shard.credential in ("", self._credentials.get(shard.provider))
        if isinstance(outcome, Absent) and not same_key:
            # What is found is ours whoever asks; what this key does not see may be there.
            outcome = Unsure(
                f"It was sent to {shard.provider} with another key or address than today's, "
                "which may not see its batch: set the old ones until this batch has moved on."
            )
        patience = self._settings.unsure_patience_span
        if (
            isinstance(outcome, Unsure)
            and not shard.given_up
            and patience is not None
            and now() > shard.sending_at + patience
        ):
            log.warning(
                "unsure_shard_sent_again",
                batch_id=shard.batch_id,
                shard_id=shard.id,
                cause=outcome.message,
            )
            return Absent()
        return outcome

    async def _adopt(self, shard: Shard, remote_id: str, remote_file_id: str) -> Done:
        expected = await self._ledger.durations.of(shard.provider, shard.remote_model)
        poll_at = now() + timedelta(seconds=first_look(shard.id, expected, self._settings))
        shard.remote_id = remote_id
        batch = await self._ledger.shards.submitted(shard, remote_id, remote_file_id, poll_at)
        await self._announce(batch, BatchEvent.SHARD_SUBMITTED, shard)
        if isinstance(batch, Batch):
            await self._announcer.wake(Step.POLL, shard.batch_id, shard.id)
            if batch.stop:
                await self._announcer.wake(Step.STOP, shard.batch_id)
        return Done()

    async def _wait_for_room(
        self, shard: Shard, allowance: Allowance, full: NoRoom
    ) -> Done | Again:
        """Stay queued, and be woken when it is its turn.

        Of all that wait for a model one message sleeps: that of the next probe.
        """
        reason = (
            f"waits for room under {shard.provider}'s limit of {allowance.limit:,} enqueued "
            f"tokens for {shard.remote_model}"
        )
        until = now() + timedelta(seconds=_ROOM_PAUSE)
        batch = await self._ledger.shards.wait_for_room(shard, reason, until)
        if isinstance(batch, Batch):
            await self._announcer.changed(batch, BatchEvent.SHARD_WAITING, shard)
        if full.first is not None:
            await self._budgets.wake_next(shard.provider, shard.remote_model)
        if full.look_at is not None and not isinstance(batch, Stale):
            return Again(max((full.look_at - now()).total_seconds(), 0.0))
        return Done()

    async def _wait_for_key(
        self, shard: Shard, batch: Batch | None, code: str, message: str
    ) -> Done | Again:
        """Stay queued until the provider takes the key, unless the batch is to fail fast."""
        if batch is not None and batch.fail_fast:
            return await self._give_up(shard, code, message)
        reason = self._keys.say(shard.provider, code)
        return await self._requeue(shard, reason, self._settings.refused_pause)

    async def _requeue(
        self, shard: Shard, reason: str, pause: float, **refusal: Any
    ) -> Done | Again:
        """Queue it again. `refusal`: as of Shards.requeue."""
        until = now() + timedelta(seconds=pause)
        batch = await self._ledger.shards.requeue(shard, reason, until, **refusal)
        await self._announce(batch, BatchEvent.SHARD_WAITING, shard)
        if isinstance(batch, Stale):
            return Done()
        if batch.stop:
            await self._announcer.wake(Step.STOP, shard.batch_id)
            return Done()
        return Again(pause)

    async def _cut(self, shard: Shard, *, fitting: int = 0, piece_bytes: int = 0) -> Done:
        """Replace a shard that is over a limit by one that fits and one for the rest."""
        records = await self._blobs.get(shard.lines_key)
        fitting = fitting or lines_within(records, piece_bytes)
        successors = await cut(shard, records, fitting, self._blobs)
        log.info("shard_split", batch_id=shard.batch_id, shard_id=shard.id, fitting=fitting)
        return await self._settle(shard, Settlement(0, 0, retried=shard.line_count), successors)

    async def _give_up(self, shard: Shard, code: str, message: str) -> Done:
        """Fail every line of the shard for good: nothing of it was or will be run."""
        return await self._settle(
            shard, Settlement(0, shard.line_count, fill_code=code, fill_message=message)
        )

    async def _settle(
        self, shard: Shard, settlement: Settlement, successors: Sequence[Shard] = ()
    ) -> Done:
        if await self._settler.settle(shard, settlement, successors):
            await self._inputs.discard(shard)
        return Done()

    async def _announce(self, batch: Batch | Stale, kind: BatchEvent.Kind, shard: Shard) -> None:
        if isinstance(batch, Batch):
            await self._announcer.changed(batch, kind, shard)


def intent_of(shard: Shard) -> Intent:
    """The durable intent of a shard's latest attempt."""
    assert shard.intended_at is not None
    return Intent(
        shard_id=shard.id,
        token=shard.token,
        endpoint=shard.endpoint,
        model=shard.remote_model,
        line_count=shard.sent_lines,
        size=shard.sent_bytes,
        sha256=shard.sent_sha256,
        intended_at=shard.intended_at,
        file_token=shard.file_token,
    )

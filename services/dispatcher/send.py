"""Submit step, part 2: send one attempt, and record its outcome.

In: a shard whose intent is committed, and its file or an upload of an earlier attempt. Out: the
outcome in the ledger. What can go wrong: refused (for now, for good, or for the key), unknown
(the answer was lost; the next step is to reconcile), taken by somebody else before the create
was dispatched, or the ledger is away when the answer is there: then it is written down until it is
back.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Ack, Snooze
from core.ledger import Held, LedgerUnavailable, Shard, now
from core.pipeline import ProviderKeys, Runtime, renewing_lease
from core.providers import (
    Accepted,
    Intent,
    NotOurs,
    OutcomeUnknown,
    Provider,
    Refused,
    SubmitOutcome,
    Upload,
)
from services.dispatcher.outcomes import ShardOutcomes

log = structlog.get_logger()

# Beyond the time that an adapter promises to take: it may be a third party's.
_OVERTIME = 10.0
_FIRST_RECORD_PAUSE = 0.5
_LONGEST_RECORD_PAUSE = 5.0


class Sender:
    """Sends attempts whose intent is committed."""

    def __init__(self, runtime: Runtime, keys: ProviderKeys, outcomes: ShardOutcomes) -> None:
        self._ledger = runtime.ledger
        self._settings = runtime.settings
        self._lease = runtime.settings.submit_lease_span
        self._keys = keys
        self._outcomes = outcomes

    async def send(self, shard: Shard, provider: Provider, source: Path | Upload) -> Ack | Snooze:
        """Send it, and conclude."""
        outcome = await self._submit(shard, provider, source)
        if isinstance(outcome, Upload):
            # Nobody wakes an attempt: queued again, it is asked for at once whether it may go.
            return await self._outcomes.requeue(
                shard,
                "",
                0.0,
                remote_file_id=outcome.remote_file_id,
                orphans=outcome.orphans,
            )
        return Ack() if outcome is None else await self._recorded(shard, outcome)

    async def _submit(
        self, shard: Shard, provider: Provider, source: Path | Upload
    ) -> SubmitOutcome | Upload | None:
        """Send an attempt; None when it was somebody else's before its create was dispatched.

        What was uploaded for it, where a pause came first.
        """
        uploaded = ""
        held: Upload | None = None

        async def gate(upload: Upload) -> None:
            nonlocal uploaded, held
            uploaded = upload.remote_file_id
            dispatched = await self._ledger.shards.mark_dispatched(
                shard, self._lease, remote_file_id=uploaded, orphans=upload.orphans
            )
            if isinstance(dispatched, Held):
                held = upload
            if dispatched is not True:
                raise NotOurs(shard.id)

        renew = partial(self._ledger.shards.renew_lease, shard)
        try:
            async with (
                renewing_lease(renew, self._lease),
                asyncio.timeout(self._settings.provider_timeout + _OVERTIME),
            ):
                return await provider.submit(intent_of(shard), source, gate=gate)
        except NotOurs:
            if held is not None:
                log.info("attempt_held", batch_id=shard.batch_id, shard_id=shard.id)
                return held
            log.warning("attempt_reverted", batch_id=shard.batch_id, shard_id=shard.id)
            fresh = await self._ledger.shards.get(shard.id)
            if uploaded and isinstance(source, Path) and fresh and fresh.settled_at:
                # Whoever had the shard since is done with it, and may have been so before our
                # upload was there. Until then what it left is known to the ledger.
                await self._outcomes.remote_files.delete(shard)
            return None
        except TimeoutError:
            return OutcomeUnknown("the provider's adapter did not end in time")
        except asyncio.CancelledError:
            # We are being stopped between the first byte and the answer: let the next
            # dispatcher look at once instead of waiting the lease out.
            await asyncio.shield(
                self._ledger.shards.mark_outcome_unknown(
                    shard, "the dispatcher was stopped", now(), quiet=True
                )
            )
            raise

    async def _recorded(self, shard: Shard, outcome: SubmitOutcome) -> Ack | Snooze:
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

    async def _conclude(self, shard: Shard, outcome: SubmitOutcome) -> Ack | Snooze:
        ids = {"batch_id": shard.batch_id, "shard_id": shard.id, "provider": shard.provider}
        match outcome:
            case Accepted(remote_id=remote_id, remote_file_id=remote_file_id):
                log.info("shard_submitted", **ids, remote_id=remote_id, lines=shard.sent_lines)
                return await self._outcomes.adopt(shard, remote_id, remote_file_id)
            case Refused(access=True) as refused:
                await self._keys.note(shard.provider, refused.code, refused.message)
                batch = await self._ledger.batches.get(shard.batch_id)
                return await self._outcomes.wait_for_key(
                    shard, batch, refused.code, refused.message
                )
            case Refused(transient=True) as refused:
                over_limit = await self._outcomes.quotas.learn(shard, refused)
                pause = self._outcomes.quotas.pause(shard, refused)
                log.info("shard_refused_for_now", **ids, code=refused.code, pause=pause)
                reason = f"{refused.code}: {refused.message}"
                return await self._outcomes.requeue(
                    shard,
                    reason,
                    pause,
                    over_limit=over_limit,
                    remote_file_id=refused.upload.remote_file_id,
                    orphans=refused.upload.orphans,
                    input_lost=refused.input_lost,
                )
            case Refused() as refused:
                log.warning("shard_refused", **ids, code=refused.code)
                done = await self._outcomes.give_up(shard, refused.code, refused.message)
                if refused.upload.orphans and not refused.upload.remote_file_id:
                    # It never came to the gate, so the ledger does not know.
                    await self._outcomes.remote_files.delete(shard)
                return done
            case OutcomeUnknown(message=message):
                log.warning("shard_outcome_unknown", **ids, cause=message)
                pause = self._settings.unreachable_pause
                until = now() + timedelta(seconds=pause)
                held = await self._ledger.shards.mark_outcome_unknown(
                    shard, message, until, quiet=True
                )
                await self._outcomes.announce(held, BatchEvent.SHARD_WAITING, shard)
                return Snooze(pause)


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

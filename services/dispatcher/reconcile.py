"""The submit step after a crash: find out what became of an attempt.

In: a shard whose create was dispatched, or may have been, and nobody knows its end. Out: adopted
(the provider has its batch), queued again (surely nothing was created), or left for later.
What can go wrong: the provider does not answer, or today's key does not see what another key
has sent; then it is unsure, and asked again; it is sent again for lack of an answer only where
POLYBATCH_UNSURE_SUBMISSION says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Ack, Snooze, Step
from core.ledger import Shard, Stale, now
from core.pipeline import Runtime, next_late_look
from core.pipeline.poll_times import late_interval
from core.providers import (
    Absent,
    FindOutcome,
    Found,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Unsure,
)
from services.dispatcher.outcomes import ShardOutcomes
from services.dispatcher.send import intent_of

log = structlog.get_logger()


class Reconciler:
    """Looks up attempts at their providers."""

    def __init__(
        self, runtime: Runtime, credentials: Mapping[str, str], outcomes: ShardOutcomes
    ) -> None:
        """`credentials`: KnownProviders.credentials."""
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._settings = runtime.settings
        self._credentials = credentials
        self._outcomes = outcomes

    async def reconcile(self, shard: Shard, provider: Provider | None) -> Ack | Snooze:
        """Find out what became of an attempt that nobody knows the end of.

        `provider`: None where this installation has no access to it.
        """
        if shard.dispatched_at is None:
            taken = await self._ledger.shards.revert_to_queued(shard)
            log.info("shard_reverted", batch_id=shard.batch_id, shard_id=shard.id)
            await self._outcomes.announce(taken, BatchEvent.SHARD_WAITING, shard)
            return Ack() if isinstance(taken, Stale) else Snooze(0.0)
        outcome = await self._look(shard, provider)
        log.info(
            "shard_reconciled",
            batch_id=shard.batch_id,
            shard_id=shard.id,
            outcome=type(outcome).__name__,
        )
        match outcome:
            case Found(remote_id=remote_id, remote_file_id=remote_file_id):
                return await self._outcomes.adopt(shard, remote_id, remote_file_id)
            case Absent() if shard.given_up:
                settled = await self._ledger.late.never_sent(shard)
                await self._outcomes.announce(settled, BatchEvent.SHARD_SETTLED, shard)
                await self._publisher.enqueue(Step.ASSEMBLE, shard.batch_id)
                return Ack()
            case Absent():
                return await self._outcomes.requeue(shard, "", 0.0)
            case Unsure(message=message):
                pause = outcome.retry_after or self._next_look(shard)
                if shard.given_up:
                    pause = max(pause, next_late_look(shard, self._settings))
                until = now() + timedelta(seconds=pause)
                held = await self._ledger.shards.mark_outcome_unknown(shard, message, until)
                await self._outcomes.announce(held, BatchEvent.SHARD_WAITING, shard)
                return Ack() if isinstance(held, Stale) else Snooze(pause)

    def _next_look(self, shard: Shard) -> float:
        """Seconds until it may be told, where nobody says when: what may be the batch has to end
        first at some providers, hours later, and each look reads their list."""
        assert shard.dispatched_at is not None
        age = (now() - shard.dispatched_at).total_seconds()
        return max(self._settings.unreachable_pause, late_interval(age, self._settings))

    async def _look(self, shard: Shard, provider: Provider | None) -> FindOutcome:
        """Ask the provider for the batch of an attempt that was dispatched."""
        assert shard.dispatched_at is not None
        if provider is None:
            # It may be there, and paid for.
            return Unsure(f"{shard.provider}: this installation has no access to it")
        # Moments in the ledger are of the shared clock, and the adapter asks this machine's.
        ahead = await self._ledger.clock_ahead()
        intent = intent_of(shard)
        since = intent.intended_at - timedelta(days=1)
        intent = replace(intent, intended_at=intent.intended_at + ahead)
        known = await self._ledger.shards.remote_ids(shard.provider, since)
        # Whoever let it go has had so long to send it and to hear of it.
        timeout = timedelta(seconds=self._settings.provider_timeout)
        quiet = shard.no_inflight_since or shard.dispatched_at + timeout
        try:
            outcome = await provider.find(intent, known, quiet_since=quiet + ahead)
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
            and now() - ahead > shard.dispatched_at + patience
        ):
            log.warning(
                "unsure_shard_sent_again",
                batch_id=shard.batch_id,
                shard_id=shard.id,
                cause=outcome.message,
            )
            return Absent()
        return outcome

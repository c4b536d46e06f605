"""What was still at a provider when the stop grace period of a batch expired: given up, and
fetched when the provider gives it back after all.

The shard goes on its way through the same steps (submit: reconcile; poll; fetch) for as long
as the provider keeps results; the assemble step merges what comes into the batch's results.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Step
from core.ledger import STOP_ERRORS, Batch, Shard, Stop, now
from core.pipeline import poll_times
from core.pipeline.consequences import Consequences
from core.pipeline.runtime import Runtime
from core.providers import Registry
from core.settings import Settings

log = structlog.get_logger()

# A provider's batch ends so long after its creation at the latest; its results are kept
# from then on. OpenAI and Anthropic: 24 hours.
_LONGEST_BATCH = timedelta(hours=24)
# Of a provider that is not configured here any more: whoever sets its key again finds it.
_KEPT_UNKNOWN = timedelta(days=29)


def next_late_look(shard: Shard, settings: Settings) -> float:
    """Seconds until it is asked again for a batch that may never come: ever more of them."""
    age = (now() - (shard.submitted_at or shard.created_at)).total_seconds()
    return poll_times.late_interval(age, settings)


class LateShards:
    """Lets batches go on without shards that are at a provider, and ends the wait for them."""

    def __init__(self, runtime: Runtime, providers: Registry) -> None:
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._providers = providers
        self._consequences = Consequences(runtime)

    async def give_up(self, shard: Shard, stop: Stop) -> None:
        """Let a stopped batch end without a shard that is, or may be, at its provider."""
        until = self._kept_until(shard)
        await self.let_go(shard, STOP_ERRORS[stop][0], _given_up(shard, stop, until))

    async def let_go(self, shard: Shard, code: str, message: str) -> None:
        """Let a batch go on without a shard that is, or may be, at its provider.

        `code`, `message`: what its lines have in the results until they are answered.
        """
        until = self._kept_until(shard)
        given_up = await self._ledger.late.give_up(shard, code, message, until)
        if not isinstance(given_up, Batch):
            return
        log.warning(
            "shard_given_up",
            batch_id=shard.batch_id,
            shard_id=shard.id,
            code=code,
            lines=shard.line_count,
            late_until=until.isoformat(),
        )
        await self._publisher.changed(given_up, BatchEvent.SHARD_SETTLED, shard)
        await self._consequences.of(shard, given_up)
        if given_up.all_settled:
            await self._publisher.enqueue(Step.ASSEMBLE, shard.batch_id)

    async def over(self, shard: Shard) -> bool:
        """Whether a shard was given up and its provider keeps nothing of it any more."""
        if not shard.given_up or shard.late_until is None or shard.late_until > now():
            return False
        abandoned = await self._ledger.late.abandon(shard)
        if isinstance(abandoned, Batch):
            log.warning(
                "late_answers_abandoned",
                batch_id=shard.batch_id,
                shard_id=shard.id,
                lines=shard.line_count,
            )
            await self._publisher.changed(abandoned, BatchEvent.SHARD_SETTLED, shard)
        return True

    def _kept_until(self, shard: Shard) -> datetime:
        provider = self._providers.get(shard.provider)
        kept = provider.keeps_results if provider else _KEPT_UNKNOWN
        sent = shard.submitted_at or shard.dispatched_at or now()
        return sent + _LONGEST_BATCH + kept


def _given_up(shard: Shard, stop: Stop, until: datetime) -> str:
    """What is to be said of lines that a provider did not give back in time."""
    cause = "was cancelled" if stop is Stop.CANCEL else "came to the end of its completion window"
    batch = f", in its batch {shard.remote_id}" if shard.remote_id else ""
    return (
        f"The batch {cause}, and {shard.provider} did not give this line back in the time left "
        f"to it (POLYBATCH_STOP_GRACE). It may have been run and billed{batch}. If it is answered "
        f"by {until:%Y-%m-%d}, its answer comes into the results by itself."
    )

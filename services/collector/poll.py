"""The poll step: ask the provider until its batch has ended.

In: the id of a shard that is at a provider. Out: what the provider says of it, in the ledger;
when it has ended, its fetch step on the bus. What can go wrong: no answer, a refused key, a
batch that is not found (each: asked again, less and less often, with the reason in the status);
a batch that failed (its lines are sent again, or fail with the provider's reason).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus import Ack, Delivery, Snooze, Step
from core.ledger import Batch, File, Shard, ShardState, Stale, now
from core.metrics import POLL_LAG_SECONDS
from core.pipeline import (
    LateShards,
    RemoteFileCleanup,
    Runtime,
    Settler,
    TokenQuotas,
    next_late_look,
    next_look,
)
from core.pipeline.timing import EARLY, after
from core.providers import (
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    Registry,
    RemoteBatch,
    RemoteState,
    dump_result,
)
from services.collector.bad_lines import BadLineIsolation
from services.collector.list_polling import ListPoller

log = structlog.get_logger()

_NOT_FOUND = 404


class Poller:
    """Handles the poll step."""

    def __init__(
        self,
        runtime: Runtime,
        providers: Registry,
        settler: Settler,
        bad_lines: BadLineIsolation,
        late: LateShards,
        credentials: Mapping[str, str],
        variables: Mapping[str, str] = MappingProxyType({}),
        *,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """`credentials`, `variables`: KnownProviders.credentials and .key_variables."""
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._settings = runtime.settings
        self._providers = providers
        self._credentials = credentials
        self._variables = variables
        self._settler = settler
        self._bad_lines = bad_lines
        self._late = late
        self._quotas = TokenQuotas(runtime)
        self._remote_files = RemoteFileCleanup(runtime, providers)
        self._now = clock
        self._list_poller = ListPoller(runtime, providers, credentials, self, clock)

    async def handle(self, item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        """Poll one shard when its time has come, and others with it where there are many."""
        shard = await self._ledger.shards.get(item.shard_id)
        if shard is None or shard.state != ShardState.SUBMITTED:
            return Ack()
        wait = (shard.due_at - self._now()).total_seconds()
        if wait > EARLY:
            return Snooze(wait + self._list_poller.lag(shard))
        if await self._late.over(shard):
            return Ack()
        if shard.given_up:
            # The end of its batch did not wait for the provider to be told.
            await self.cancel(shard)
        POLL_LAG_SECONDS.labels(shard.provider).observe(max(-wait, 0.0))
        pause = await self._list_poller.take(shard)
        if pause is None:
            pause = await self.poll(shard)
        return Ack() if pause is None else Snooze(pause)

    async def poll(self, shard: Shard) -> float | None:
        """Ask the provider once. Returns seconds until the next poll; None when it is over."""
        provider = self._providers.get(shard.provider)
        if provider is None:
            return await self._wait(shard, f"no access to the provider {shard.provider!r}", None)
        try:
            remote = await provider.poll(shard.remote_id)
        except ProviderUnavailable as error:
            return await self._wait(shard, f"{shard.provider}: {error}", error.retry_after)
        except ProviderRejected as error:
            return await self._rejected(shard, error)
        return await self.conclude(shard, provider, remote)

    async def cancel(self, shard: Shard) -> None:
        """Ask the provider to stop, unless it says that it does already."""
        provider = self._providers.get(shard.provider)
        if provider is None or shard.remote_status.startswith("cancel"):
            return
        try:
            await provider.cancel(shard.remote_id)
        except ProviderUnavailable as error:
            log.info("cancel_retried", shard_id=shard.id, cause=str(error))
        except ProviderRejected as error:
            log.warning("cancel_rejected", shard_id=shard.id, code=error.code)

    async def conclude(
        self,
        shard: Shard,
        provider: Provider,
        remote: RemoteBatch,
        next_poll: datetime | None = None,
    ) -> float | None:
        """Do what a provider's answer asks for.

        `next_poll`: when a batch that runs on is to be looked at again, where that is known.
        Returns as `poll`.
        """
        ids = {"batch_id": shard.batch_id, "shard_id": shard.id, "provider": provider.name}
        match remote.state:
            case RemoteState.RUNNING | RemoteState.STOPPING:
                pause = self._interval(shard)
                polled = await self._ledger.shards.polled(
                    shard,
                    remote.native_status,
                    remote.finished,
                    next_poll or self._now() + timedelta(seconds=pause),
                )
                if isinstance(polled, Batch):
                    await self._publisher.changed(polled, BatchEvent.SHARD_PROGRESSED, shard)
                return None if isinstance(polled, Stale) else pause
            case RemoteState.ENDED:
                log.info("shard_ended", **ids, status=remote.native_status)
                batch = await self._ledger.shards.fetching(
                    shard, remote.native_status, dump_result(remote)
                )
                if isinstance(batch, Batch):
                    await self._publisher.changed(batch, BatchEvent.SHARD_PROGRESSED, shard)
                    await self._publisher.enqueue(Step.FETCH, shard.batch_id, shard.id)
                    await self._quotas.enqueue_next(shard.provider, shard.remote_model)
                return None
            case RemoteState.FAILED:
                refusal = remote.refusal or Refused(
                    "provider_batch_failed", "The provider gave no reason.", transient=False
                )
                await self._refused(shard, refusal)
                # Unless it is queued again, and its input kept for the next attempt.
                await self._remote_files.discard(shard)
                return None

    async def _refused(self, shard: Shard, refusal: Refused) -> None:
        """The provider took the batch and refused it afterwards: nothing was run."""
        ids = {"batch_id": shard.batch_id, "shard_id": shard.id, "provider": shard.provider}
        if shard.given_up and not refusal.transient:
            # Its batch does not wait for it: no line is sent again, the good ones neither.
            log.warning("shard_refused", **ids, code=refusal.code)
            await self._settler.fill(shard, refusal.code, refusal.message)
            return
        if not refusal.transient:
            log.warning("shard_refused", **ids, code=refusal.code)
            file = await self._input(shard) if refusal.bad_lines else None
            if file is not None and await self._bad_lines.leave_out(shard, file, refusal):
                return
            await self._settler.fill(shard, refusal.code, refusal.message)
            return
        if shard.given_up:
            # Its batch has ended: what was never run is not sent again.
            settled = await self._ledger.late.never_sent(shard)
            if isinstance(settled, Batch):
                await self._publisher.changed(settled, BatchEvent.SHARD_SETTLED, shard)
                await self._publisher.enqueue(Step.ASSEMBLE, shard.batch_id)
            return
        over_limit = await self._quotas.learn(shard, refusal)
        pause = self._quotas.pause(shard, refusal)
        log.info("shard_refused_for_now", **ids, code=refusal.code, pause=pause)
        batch = await self._ledger.shards.requeue(
            shard,
            f"{refusal.code}: {refusal.message}",
            after(pause),
            over_limit=over_limit,
            input_lost=refusal.input_lost,
        )
        await self._quotas.enqueue_next(shard.provider, shard.remote_model)
        if isinstance(batch, Batch):
            await self._publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)
            step = Step.STOP if batch.stop else Step.SUBMIT
            await self._publisher.enqueue(step, shard.batch_id, "" if batch.stop else shard.id)
            if not batch.stop:
                await self._settler.wake_waiting(batch)

    async def _input(self, shard: Shard) -> File | None:
        batch = await self._ledger.batches.get(shard.batch_id)
        return await self._ledger.files.get_input(batch) if batch else None

    async def _rejected(self, shard: Shard, error: ProviderRejected) -> float | None:
        age = now() - (shard.submitted_at or shard.created_at)
        settle = timedelta(seconds=self._settings.reconcile_settle)
        if shard.credential not in ("", self._credentials.get(shard.provider)):
            reason = (
                f"{shard.provider}: {error.code}: the batch {shard.remote_id} was sent with "
                "another key or address than today's: set the old ones until it has ended"
            )
            return await self._wait(shard, reason, None)
        if error.status == _NOT_FOUND and age > settle:
            # It was accepted: absence now proves nothing, and what it ran is paid for.
            reason = (
                f"{shard.provider} does not find its batch {shard.remote_id}, which it accepted; "
                "it is asked again, less and less often"
            )
            return await self._wait(shard, reason, next_late_look(shard, self._settings))
        if error.access:
            return await self._key_refused(shard, error)
        # A new batch may be unknown for a moment.
        return await self._wait(shard, f"{shard.provider}: {error.code}: {error.message}", None)

    async def _key_refused(self, shard: Shard, error: ProviderRejected) -> float | None:
        """What the provider has of the batch is out of reach until it takes the key."""
        batch = await self._ledger.batches.get(shard.batch_id)
        if batch is not None and batch.fail_fast and not shard.given_up:
            await self._late.let_go(
                shard,
                error.code,
                f"{shard.provider} refuses the key that its batch {shard.remote_id} was sent with. "
                "This line may have been run and billed; if the key works again, its answer comes "
                "into the results by itself.",
            )
            return self._interval(shard)
        variable = self._variables.get(shard.provider, "the key")
        credential = self._credentials.get(shard.provider)
        reason = (
            f"{shard.provider} refuses its key ({error.code}): set {variable} to one of the same "
            f"account that works and restart; its batch {shard.remote_id} goes on meanwhile"
        )
        if credential is not None and reason != shard.waiting_reason:
            await self._ledger.keys.keep(
                shard.provider, credential, code=error.code or "refused_key"
            )
        return await self._wait(shard, reason, None)

    async def _wait(self, shard: Shard, reason: str, retry_after: float | None) -> float | None:
        pause = max(self._interval(shard), retry_after or 0.0)
        if reason == shard.waiting_reason:
            polled = await self._ledger.shards.postpone(shard, after(pause))
            return pause if polled else None
        batch = await self._ledger.shards.unreachable(shard, reason, after(pause))
        if isinstance(batch, Stale):
            return None
        log.warning("poll_waits", batch_id=shard.batch_id, shard_id=shard.id, cause=reason)
        await self._publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)
        return pause

    def _interval(self, shard: Shard) -> float:
        if shard.given_up:
            return next_late_look(shard, self._settings)
        age = (self._now() - (shard.submitted_at or shard.created_at)).total_seconds()
        return max(next_look(shard.id, age, self._settings), self._list_poller.gap(shard.provider))

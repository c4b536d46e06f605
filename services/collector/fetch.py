"""The fetch step: bring a shard's results home.

The provider gives lines in any order. They are spooled to a local file as they come,
with a few bytes kept for each (where it lies, what became of it), and then written in
the order of the input, each with the user's own custom_id.

In: the id of a shard whose provider's batch, or whose run, has ended. Out: its result lines in the
store; the shard settled, with a successor for lines to be sent again. What can go wrong: the
download fails (repeated, without a poll), lines are unknown or twice (left out), missing (asked
for again, then reported, never sent again), or the results are gone for good (reported).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import MappingProxyType

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.backoff import backoff
from core.batchfile import (
    ResultFile,
    error_json,
    listed_lines,
)
from core.bus import Ack, Delivery, Snooze
from core.ledger import (
    Batch,
    File,
    Shard,
    ShardPurpose,
    ShardState,
    Stale,
    now,
)
from core.pipeline import (
    BatchPrices,
    LateShards,
    RemoteFileCleanup,
    Runtime,
    Settler,
    renewing_lease,
)
from core.pipeline.timing import EARLY, after
from core.providers import (
    Outcome,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Registry,
    RemoteBatch,
    ResultsGone,
    dump_result,
    load_result,
)
from services.collector.direct_results import take_run
from services.collector.rescue import RescueEndpoints
from services.collector.shard_results import ShardResults
from services.collector.sorter import Sorter
from services.collector.tally import Tally
from services.collector.twins import TwinAnswers

log = structlog.get_logger()

_REFETCH_LIMIT = 3
_REFETCH_PAUSE = 2.0
_LONGEST_UNREACHABLE_PAUSE = 60
# Of a fetch that has some of its results, in seconds and in tries of each further source.
_LONGEST_PATIENCE = 60.0
_PATIENT_TRIES = 3

_NEVER_RUN = {
    Outcome.EXPIRED: (
        "batch_expired",
        "The provider's completion window closed before this line was run.",
    ),
    Outcome.CANCELLED: ("batch_cancelled", "The batch was cancelled first."),
}

_ENDED_EARLY = {"expired": Outcome.EXPIRED, "cancelled": Outcome.CANCELLED}


class Fetcher:
    """Handles the fetch step."""

    def __init__(
        self,
        runtime: Runtime,
        providers: Registry,
        settler: Settler,
        late: LateShards,
        prices: BatchPrices,
        rescue_endpoints: RescueEndpoints = MappingProxyType({}),
    ) -> None:
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._publisher = runtime.publisher
        self._settings = runtime.settings
        self._lease = timedelta(seconds=runtime.settings.fetch_lease)
        self._providers = providers
        self._settler = settler
        self._late = late
        self._prices = prices
        self._rescue_endpoints = rescue_endpoints
        self._results = ShardResults(runtime, settler, providers)
        self._twins = TwinAnswers(runtime, settler)
        self._remote_files = RemoteFileCleanup(runtime, providers)
        # One shard is written at a time, while others are received: it is CPU-bound, so
        # interleaving would delay all of them and keep every buffer alive.
        self._writing = asyncio.Lock()
        self._settings.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def handle(self, item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        """Fetch the results of one shard and settle it."""
        shard = await self._ledger.shards.get(item.shard_id)
        if shard is None or shard.state != ShardState.FETCHING:
            return Ack()
        if shard.purpose == ShardPurpose.TWINS:
            return await self._twins.handle(shard)
        wait = (shard.due_at - now()).total_seconds()
        if wait > EARLY:
            return Snooze(wait)
        if await self._late.over(shard):
            return Ack()
        if not await self._ledger.shards.claim_fetch(shard, self._lease):
            return Snooze(self._lease.total_seconds())
        async with renewing_lease(partial(self._ledger.shards.renew_lease, shard), self._lease):
            return await self._fetch(shard, delivery)

    async def _fetch(self, shard: Shard, delivery: Delivery) -> Ack | Snooze:
        batch = await self._ledger.batches.get(shard.batch_id)
        file = await self._ledger.files.get_input(batch) if batch else None
        if batch is not None and file is not None and shard.ran_here:
            with await self._sorter(shard, batch, file) as sorter:
                await take_run(self._blobs, shard, sorter)
                async with self._writing:
                    settled = await self._results.write(shard, batch, file, sorter)
            if settled:
                # It may have been uploaded before it came to be called line by line.
                await self._remote_files.discard(shard)
            return Ack()
        if batch is None or file is None:
            code = "input_file_missing"
            await self._settler.fill(shard, code, f"{code}: the results cannot be fetched.")
            return Ack()
        provider = self._providers.get(shard.provider)
        if provider is None:
            # They are paid for, and stay there for weeks.
            no_access = ProviderUnavailable("this installation has no access to it")
            return await self._unreachable(shard, no_access, delivery)
        with await self._sorter(shard, batch, file) as sorter:
            remote = load_result(shard.remote_result)
            try:
                remote = await self._collect(shard, provider, remote, sorter)
            except (ProviderUnavailable, ProviderRejected) as error:
                return await self._unreachable(shard, error, delivery)
            if await self._again(shard, batch, remote, sorter):
                return Snooze(_REFETCH_PAUSE)
            rescued = self._is_rescued(shard, batch)
            if rescued:
                _answer_unnamed(remote, shard, sorter)
            completed = remote.ended_as == "completed"
            async with self._writing:
                settled = await self._results.write(
                    shard, batch, file, sorter, rescued=rescued, completed=completed
                )
        if settled:
            await self._remote_files.discard(shard)
        return Ack()

    async def _sorter(self, shard: Shard, batch: Batch, file: File) -> Sorter:
        listed = await listed_lines(self._blobs, shard.lines_key, shard.line_count)
        return Sorter(
            listed.lines,
            Tally(
                listed.groups,
                await self._prices.of(batch, file, rescued=shard.purpose == ShardPurpose.RESCUE),
            ),
            self._settings.spool_dir,
            attempts=shard.round + 1,
            reserve=self._settings.work_reserve,
        )

    def _is_rescued(self, shard: Shard, batch: Batch) -> bool:
        """Whether lines of a shard that its provider has not run are to be called one by one."""
        return (
            batch.rescue_started_at is not None
            and not batch.stop
            and not shard.given_up
            and batch.endpoint in self._rescue_endpoints.get(shard.provider, ())
        )

    async def _collect(
        self, shard: Shard, provider: Provider, kept: RemoteBatch | None, sorter: Sorter
    ) -> RemoteBatch:
        """Take the provider's lines in, and those that were never sent to it.

        `kept`: what the last poll said of where they are. It is asked again only where
        nothing is known, or where nothing is there.
        """
        remote = kept or await self._poll(shard, provider)
        gone: ResultsGone | None = None
        for last in (kept is None, True):
            try:
                await self._receive(shard, provider, remote, sorter)
            except ProviderRejected as error:
                fresh = remote if last else await self._poll(shard, provider)
                if fresh.result_sources != remote.result_sources:
                    remote = fresh
                    continue
                if not isinstance(error, ResultsGone):
                    raise
                # What came before it counts; the rest never will.
                gone = error
                log.warning("results_gone", shard_id=shard.id, cause=str(error))
            break
        if shard.rejects_prefix:
            rejects = await ResultFile.open(self._blobs, shard.rejects_prefix)
            async for group in rejects.lines():
                for reject in group:
                    sorter.reject(reject.line, reject.raw.removesuffix(b"\n"))
        if gone is not None:
            sorter.answer_rest(Outcome.FAILED, error_json(gone.code, gone.message))
        elif remote.unanswered is not None:
            sorter.answer_rest(remote.unanswered, error_json(*_NEVER_RUN[remote.unanswered]))
        if sorter.unknown or sorter.duplicates:
            log.warning(
                "odd_result_lines",
                batch_id=shard.batch_id,
                shard_id=shard.id,
                unknown=sorter.unknown,
                duplicates=sorter.duplicates,
            )
        return remote

    async def _poll(self, shard: Shard, provider: Provider) -> RemoteBatch:
        """Ask where the results are, and keep it: a download that fails is repeated alone."""
        remote = await provider.poll(shard.remote_id)
        await self._ledger.shards.found_results(shard, dump_result(remote))
        return remote

    async def _receive(
        self, shard: Shard, provider: Provider, remote: RemoteBatch, sorter: Sorter
    ) -> None:
        """Take in what every source has. Raises ResultsGone where one is not there any more."""
        prefix = f"{shard.id}-{shard.file_token}-"
        parts = [replace(remote, result_sources=(each,)) for each in remote.result_sources]
        for number, part in enumerate(parts or [remote]):
            await _take(provider, part, prefix, sorter, patient=bool(number))

    async def _again(self, shard: Shard, batch: Batch, remote: RemoteBatch, sorter: Sorter) -> bool:
        """Whether to fetch once more because lines are missing that should be there."""
        missing = sorter.missing()
        if not missing or remote.ended_as != "completed":
            return False
        log.warning("results_incomplete", batch_id=batch.id, shard_id=shard.id, missing=missing)
        if shard.refetches >= _REFETCH_LIMIT:
            return False
        until = now() + timedelta(seconds=_REFETCH_PAUSE)
        reason = f"{missing} result lines are missing; asking {shard.provider} again"
        changed = await self._ledger.shards.refetch(shard, reason, until)
        if isinstance(changed, Stale):
            return False
        await self._publisher.changed(changed, BatchEvent.SHARD_WAITING, shard)
        return True

    async def _unreachable(
        self, shard: Shard, error: ProviderUnavailable | ProviderRejected, delivery: Delivery
    ) -> Ack | Snooze:
        first = self._settings.unreachable_pause
        pause = backoff(first, delivery.count, first * _LONGEST_UNREACHABLE_PAUSE)
        if isinstance(error, ProviderUnavailable) and error.retry_after:
            pause = max(pause, error.retry_after)
        reason = f"{shard.provider}: {error}"
        batch = await self._ledger.shards.unreachable(shard, reason, after(pause))
        if isinstance(batch, Stale):
            return Ack()
        log.warning("fetch_waits", batch_id=shard.batch_id, shard_id=shard.id, cause=str(error))
        await self._publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)
        return Snooze(pause)


def _answer_unnamed(remote: RemoteBatch, shard: Shard, sorter: Sorter) -> None:
    """Where a provider that was told to end names lines no more that it has not run: these have
    not run if it counts as many finished ones as have come.

    Gemini's and Mistral's results hold what was run alone; what they have counted is known.
    """
    outcome = _ENDED_EARLY.get(remote.ended_as)
    counted = remote.total == shard.sent_lines and remote.finished == sorter.answered()
    if outcome is not None and counted and sorter.missing():
        sorter.answer_rest(outcome, error_json(*_NEVER_RUN[outcome]))


async def _take(
    provider: Provider, part: RemoteBatch, prefix: str, sorter: Sorter, *, patient: bool
) -> None:
    """Take in one source of a batch's results.

    `patient`: what came from others is in hand, so a provider that asks to wait a little
    before this one is waited for: they would have to be fetched again.
    """
    for left in reversed(range(_PATIENT_TRIES if patient else 1)):
        begun = False
        try:
            async with aclosing(provider.results(part)) as groups:
                async for lines in groups:
                    begun = True
                    sorter.take(lines, prefix)
            return
        except ProviderUnavailable as error:
            wait = error.retry_after
            if begun or not left or wait is None or wait > _LONGEST_PATIENCE:
                raise
            await asyncio.sleep(wait)

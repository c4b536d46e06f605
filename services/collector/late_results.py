"""The assemble step after a batch's end: answers that came after its end go into its results.

In: the results that the batch ended with, and settled shards that it had given up. Out: a new
result file, in the place of the old one by one transition, with a revision of its own. It is
written once for all that has come, and not for each shard: a file of millions of lines is
read and written in whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from functools import partial

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.batchfile import (
    Entry,
    ResultFile,
    ResultLine,
    ResultTotals,
    ResultWriter,
    SettledWriter,
    add_cost,
    cost_of,
)
from core.blobs import BlobStore
from core.bus import Ack, Snooze
from core.failpoints import Failpoint
from core.ledger import (
    AtWork,
    Batch,
    File,
    Ledger,
    ResultsGone,
    Shard,
    ShardState,
    Stale,
    new_token,
    now,
)
from core.pipeline import Runtime, renewing_lease
from core.pipeline.messages import manifest_message
from services.collector.common_cause import CommonCause
from services.collector.sources import ResultSources, Source
from services.collector.unfinished import deleted_unless_written

log = structlog.get_logger()

# While more shards may come, so long after the last one that came: of a provider that is back
# after an outage many come one after another. Grows with the lines that have to be written.
_QUIET_SECONDS = 2.0
_QUIET_LINES = 20_000
_LONGEST_QUIET = 600.0


class ResultsInconsistent(Exception):
    """The lines answered are not the lines asked: a fault of ours, never handed out."""


class LateMerger:
    """Merges late answers into the results of ended batches."""

    def __init__(self, runtime: Runtime) -> None:
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._publisher = runtime.publisher
        self._segment_bytes = runtime.settings.segment_bytes
        self._lease = timedelta(seconds=runtime.settings.fetch_lease)

    async def handle(self, batch_id: str) -> Ack | Snooze:
        """Merge what has come for an ended batch; again while more comes."""
        batch = await self._ledger.batches.get(batch_id)
        if batch is None or not batch.ended:
            return Ack()
        waiting = await self._ledger.late.waiting(batch_id)
        come = [shard for shard in waiting if shard.state == ShardState.SETTLED]
        if not come:
            return Ack()
        if batch.results_gone == ResultsGone.ALL:
            # Charged when they were settled; there is nothing to merge them into.
            dropped = await self._ledger.late.drop(batch_id)
            if isinstance(dropped, Batch):
                log.info("late_answers_dropped", batch_id=batch_id, shards=len(come))
            return Ack()
        quiet = _still_to_wait(batch, come) if len(come) < len(waiting) else 0.0
        if quiet > 0:
            return Snooze(quiet)
        token = new_token()
        claimed = await self._ledger.late.claim_merge(batch_id, token, self._lease)
        if isinstance(claimed, AtWork):
            return Snooze(self._lease.total_seconds())
        if isinstance(claimed, Stale):
            return Ack()
        async with renewing_lease(
            partial(self._ledger.batches.renew_lease, batch_id, token), self._lease
        ):
            await self._merge(claimed.batch, token, claimed.come)
        return Ack()

    async def _merge(self, batch: Batch, token: str, come: Sequence[Shard]) -> None:
        file = await self._ledger.files.get_input(batch)
        if file is None:
            raise ResultsInconsistent(f"the input file of {batch.id} is gone")
        prefix = f"batches/{batch.id}/results/{token}"
        writer = ResultWriter(
            self._blobs, prefix, point=Failpoint.LATE_RESULTS, segment_bytes=self._segment_bytes
        )
        cause = CommonCause()
        async with deleted_unless_written(
            self._blobs, prefix, writer, point=Failpoint.BATCH_RESULTS_DELETE
        ):
            await self._write(batch, file, come, writer, cause)
            written = await writer.close()
            settled = SettledWriter(self._blobs, prefix, point=Failpoint.LATE_RESULTS)
            await settled.copy(self._blobs, batch.results_prefix)
            await settled.close()
            merged = await self._expected(batch, come, written)
            shards = [*_with(await self._ledger.shards.of_batch(batch.id), come)]
            manifest = manifest_message(merged, file, shards, written).SerializeToString()
            await self._blobs.put(f"{prefix}/manifest", manifest, point=Failpoint.LATE_MANIFEST)
        changed = await self._ledger.late.merge(batch, token, come, prefix, cause.found)
        if not isinstance(changed, Batch):
            await self._blobs.delete_prefix(prefix, point=Failpoint.BATCH_RESULTS_DELETE)
            return
        log.info(
            "late_answers_merged",
            batch_id=batch.id,
            lines=changed.late - batch.late,
            still_awaited=changed.awaited,
            results_revision=changed.results_revision,
        )
        await self._publisher.changed(changed, BatchEvent.LATE_RESULTS)
        await clean_up(self._ledger, self._blobs, batch.id)

    async def _write(
        self,
        batch: Batch,
        file: File,
        come: Sequence[Shard],
        writer: ResultWriter,
        cause: CommonCause,
    ) -> None:
        """Copy the results with the late answers in the place of what stood there."""
        results = await ResultFile.open(self._blobs, batch.results_prefix)
        async with AsyncExitStack() as stack:
            streams = ResultSources(self._blobs, batch, file).late(come)
            for stream in streams:
                await stack.enter_async_context(aclosing(stream))
            sources = [source for source in map(Source, streams) if await source.refill()]
            old = await stack.enter_async_context(aclosing(results.lines()))
            async for group in old:
                last = group[-1].line
                answers = {entry[0]: entry for entry in await _taken(sources, last)}
                lines = [
                    _in_place_of(found, answers.pop(found.line))
                    if found.line in answers
                    else found[1:]
                    for found in group
                ]
                if answers:
                    raise ResultsInconsistent(f"{batch.id}: line {min(answers)} was not asked")
                cause.add(lines)
                await writer.extend(lines)
            left = await _taken(sources, None)
        if left:
            raise ResultsInconsistent(f"{batch.id}: line {left[0][0]} was not asked")

    async def _expected(self, batch: Batch, come: Sequence[Shard], written: ResultTotals) -> Batch:
        """The batch as it is after the merge. Raises ResultsInconsistent."""
        merged = await self._ledger.batches.get(batch.id)
        assert merged is not None, "nothing deletes batches"
        for shard in come:
            # Detached copies: nothing of this is written.
            shard.late_merged = True
            merged.succeeded += shard.succeeded
            merged.failed += shard.failed - shard.line_count
            merged.late += shard.finished
            merged.awaited -= shard.line_count
            merged.input_tokens += shard.input_tokens
            merged.cached_input_tokens += shard.cached_input_tokens
            merged.output_tokens += shard.output_tokens
            merged.reasoning_tokens += shard.reasoning_tokens
            merged.cache_write_tokens += shard.cache_write_tokens
        merged.results_revision += 1
        if (merged.succeeded, merged.failed) != (written.succeeded, written.failed):
            raise ResultsInconsistent(
                f"{batch.id}: {written.succeeded} and {written.failed} lines were written, "
                f"{merged.succeeded} and {merged.failed} were to be"
            )
        return merged


def _in_place_of(old: ResultLine, answer: Entry) -> Entry:
    """A late answer, with what its line has cost in rounds before: the old line tells."""
    line, outcome, raw = answer
    return line, outcome, add_cost(raw, cost_of(old.raw))


async def _taken(sources: Sequence[Source], last: int | None) -> list[Entry]:
    """The entries of all sources up to a line number (None: all), in any order."""
    taken: list[Entry] = []
    for source in sources:
        while True:
            end = source.last if last is None else last
            taken += source.take(end)
            if source.last > end or not await source.refill():
                break
    return taken


def _with(shards: Sequence[Shard], come: Sequence[Shard]) -> Iterator[Shard]:
    """All shards, those that have come as they will be."""
    known = {shard.id: shard for shard in come}
    return (known.get(shard.id, shard) for shard in shards)


def _still_to_wait(batch: Batch, come: Sequence[Shard]) -> float:
    """Seconds until the results are written though more may come; 0: now."""
    newest = max(shard.settled_at or batch.created_at for shard in come)
    quiet = min(_QUIET_SECONDS * max(1.0, batch.total / _QUIET_LINES), _LONGEST_QUIET)
    return max(0.0, quiet - (now() - newest).total_seconds())


async def clean_up(ledger: Ledger, blobs: BlobStore, batch_id: str) -> None:
    """Delete what an ended batch no longer needs, and what dead assemblers have left."""
    # Listed first: what somebody writes from now on is not in it. Who wrote what is in it is still
    # at work, or is seen to have put it in the place of the old results.
    written = await blobs.list(f"batches/{batch_id}/results")
    batch = await ledger.batches.get(batch_id)
    if batch is None or not batch.ended or not batch.results_prefix:
        return
    if batch.assembler:
        # Somebody merges late answers just now, and cleans up after it.
        return
    leftovers = [key for key, _ in written if not key.startswith(f"{batch.results_prefix}/")]
    await blobs.delete(leftovers, point=Failpoint.BATCH_RESULTS_DELETE)
    needed = await ledger.late.waiting(batch_id)
    shards = f"batches/{batch_id}/shards"
    if not needed:
        await blobs.delete_prefix(shards, point=Failpoint.BATCH_SHARDS_DELETE)
        return
    folders = tuple(f"{shards}/{shard.id}/" for shard in needed)
    done = [key for key, _ in await blobs.list(shards) if not key.startswith(folders)]
    await blobs.delete(done, point=Failpoint.BATCH_SHARDS_DELETE)

"""The assemble step: one result file, in input order, each input line exactly once.

In: the id of a batch whose shards are all settled. Out: the result file and its manifest; the
batch ended. What can go wrong: the lines answered are not the lines asked (a fault of ours: it is
raised, nothing is handed out, the item comes back); the store is away or full (what was written is
deleted, the item comes back); another collector is at it as well (each writes under a prefix of its
own, and the transition decides whose counts).

Where one shard holds all lines, each a success, its results are those of the batch: they are
copied as they lie.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from functools import partial

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.batchfile import (
    AT_END,
    INDEX,
    ResultFile,
    ResultTotals,
    ResultWriter,
    SettledWriter,
    stream_records,
)
from core.blobs import BlobMissing, StoredFile
from core.bus import Ack, Delivery, Snooze, Step
from core.failpoints import Failpoint
from core.ledger import Batch, BatchState, File, Shard, Stop, new_token
from core.metrics import BATCHES_ENDED
from core.pipeline import Runtime, WaitingForFunds, renewing_lease
from core.pipeline.messages import manifest_message
from services.collector.common_cause import CommonCause, NotSent
from services.collector.earlier_costs import EarlierCosts
from services.collector.late_results import LateMerger, ResultsInconsistent, clean_up
from services.collector.lending import LentAnswers
from services.collector.sources import ResultSources, merged
from services.collector.unfinished import deleted_unless_written

log = structlog.get_logger()


class _Asked:
    """The line numbers of the input's index, in order, against those that are answered."""

    def __init__(self, batch: Batch, index: AsyncGenerator[bytes, None]) -> None:
        self._batch_id = batch.id
        self._index = index
        self._lines: list[int] = []

    async def answer(self, lines: Sequence[int]) -> None:
        """Check that these are the next ones. Raises ResultsInconsistent."""
        if lines and lines != await self._take(len(lines)):
            raise ResultsInconsistent(
                f"{self._batch_id}: among the lines {lines[0]} to {lines[-1]}, one has no "
                "result, or two, or was not asked"
            )

    async def end(self) -> None:
        """Check that there are no more. Raises ResultsInconsistent."""
        left = await self._take(1)
        if left:
            raise ResultsInconsistent(f"{self._batch_id}: line {left[0]} has no result")

    async def _take(self, count: int) -> list[int]:
        """The next `count` ones; fewer at the end."""
        while len(self._lines) < count:
            records = await anext(self._index, b"")
            if not records:
                break
            self._lines += (line for _, _, line, _, _ in INDEX.iter_unpack(records))
        taken, self._lines = self._lines[:count], self._lines[count:]
        return taken


class Assembler:
    """Handles the assemble step."""

    def __init__(self, runtime: Runtime) -> None:
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._publisher = runtime.publisher
        self._segment_bytes = runtime.settings.segment_bytes
        self._lease = timedelta(seconds=runtime.settings.fetch_lease)
        self._merger = LateMerger(runtime)
        self._waiting = WaitingForFunds(runtime.ledger, runtime.publisher)

    async def handle(self, item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        """Assemble the results of one batch and end it."""
        token = new_token()
        batch = await self._ledger.batches.start_finalizing(item.batch_id, token, self._lease)
        if not isinstance(batch, Batch):
            if delivery.count > 1:
                # Whoever had it before may have died between the end and the cleaning up.
                await clean_up(self._ledger, self._blobs, item.batch_id)
            return await self._merger.handle(item.batch_id)
        renew = partial(self._ledger.batches.renew_lease, batch.id, token)
        try:
            async with renewing_lease(renew, self._lease):
                await self._assemble(batch, token)
        except (BlobMissing, ResultsInconsistent):
            ended = await self._ledger.batches.get(batch.id)
            if ended is None or not ended.ended:
                raise
            # Somebody else was faster, and what was read here is cleaned up already.
            log.info("assembled_elsewhere", batch_id=batch.id)
            await clean_up(self._ledger, self._blobs, batch.id)
        return Ack()

    async def _assemble(self, batch: Batch, token: str) -> None:
        if batch.state == BatchState.FINALIZING:
            await self._publisher.changed(batch, BatchEvent.FINALIZING)
        file = await self._ledger.files.get_input(batch)
        if file is None:
            raise ResultsInconsistent(f"the input file of {batch.id} is gone")
        shards = await self._ledger.shards.of_batch(batch.id)
        # A prefix of its own for each attempt: two assemblers never write into each other.
        prefix = f"batches/{batch.id}/results/{token}"
        cause, not_sent, lent = CommonCause(), NotSent(batch), LentAnswers(batch)
        writer = ResultWriter(
            self._blobs,
            prefix,
            point=Failpoint.BATCH_RESULTS,
            segment_bytes=self._segment_bytes,
        )
        async with deleted_unless_written(
            self._blobs, prefix, writer, point=Failpoint.BATCH_RESULTS_DELETE
        ):
            if _holds_all(batch, shards):
                written = await self._copy(batch, file, shards[0], prefix)
            else:
                written = await self._merge(
                    batch, file, shards, prefix, writer, (cause, not_sent, lent)
                )
            await lent.store(self._blobs)
            batch.results_revision = 1
            manifest = manifest_message(batch, file, shards, written).SerializeToString()
            await self._blobs.put(f"{prefix}/manifest", manifest, point=Failpoint.BATCH_MANIFEST)
        failed = written.failed - written.cancelled - written.expired
        ended = await self._ledger.batches.end(
            batch.id,
            final_state(batch, written.failed),
            prefix,
            succeeded=written.succeeded,
            failed=written.failed,
            cancelled=written.cancelled,
            expired=written.expired,
            common_cause=cause.found,
            errors=not_sent.told,
        )
        if not isinstance(ended, Batch):
            await self._blobs.delete_prefix(prefix, point=Failpoint.BATCH_RESULTS_DELETE)
            return
        BATCHES_ENDED.labels(BatchState(ended.state).value).inc()
        log.info(
            "batch_ended",
            batch_id=batch.id,
            state=ended.state,
            succeeded=written.succeeded,
            failed=failed,
            cancelled=written.cancelled,
            expired=written.expired,
            result_bytes=written.bytes,
        )
        await self._publisher.changed(ended, BatchEvent.ENDED)
        await self._waiting.account(batch.account_id)
        await clean_up(self._ledger, self._blobs, batch.id)
        if ended.awaited:
            # What came while it was written is merged; what is still to come wakes us itself.
            await self._publisher.enqueue(Step.ASSEMBLE, batch.id)

    async def _merge(
        self,
        batch: Batch,
        file: File,
        shards: Sequence[Shard],
        prefix: str,
        writer: ResultWriter,
        watching: Sequence[CommonCause | NotSent | LentAnswers],
    ) -> ResultTotals:
        """Merge what all shards have by line number; check that they answer the lines of the input.

        Raises ResultsInconsistent.
        """
        settled = SettledWriter(self._blobs, prefix, point=Failpoint.BATCH_RESULTS)
        sources = ResultSources(self._blobs, batch, file).of_batch(shards)
        earlier = await EarlierCosts.of(self._blobs, shards)
        async with self._asked(batch, file) as asked, aclosing(merged(sources)) as groups:
            async for lines, revisions in groups:
                await asked.answer([line for line, _, _ in lines])
                for each in watching:
                    each.add(lines)
                await writer.extend(earlier.add_to(lines))
                await settled.add(revisions)
        written = await writer.close()
        await settled.close()
        return written

    async def _copy(self, batch: Batch, file: File, shard: Shard, prefix: str) -> ResultTotals:
        """Copy what the one shard has, after the same check. Raises ResultsInconsistent."""
        results = await ResultFile.open(self._blobs, shard.results_prefix)
        settled = SettledWriter(self._blobs, prefix, point=Failpoint.BATCH_RESULTS)
        revision = array("I", [shard.settled_revision or AT_END])
        async with (
            self._asked(batch, file) as asked,
            aclosing(results.numbered(succeeded=True)) as groups,
        ):
            async for group in groups:
                await asked.answer([line for _, line in group])
                await settled.add(revision * len(group))
        await settled.close()
        await self._blobs.copy_prefix(shard.results_prefix, prefix, point=Failpoint.BATCH_RESULTS)
        digest = hashlib.sha256()
        async with aclosing(results.stream()) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
        return ResultTotals(
            bytes=results.size,
            sha256=digest.hexdigest(),
            succeeded=results.line_count,
            failed=0,
            cancelled=0,
            expired=0,
        )

    @asynccontextmanager
    async def _asked(self, batch: Batch, file: File) -> AsyncGenerator[_Asked, None]:
        """The lines of the input; all have to be answered within the block."""
        index = await StoredFile.open(self._blobs, f"{file.prefix}/index")
        async with aclosing(stream_records(index, INDEX.size)) as records:
            asked = _Asked(batch, records)
            yield asked
            await asked.end()


def _holds_all(batch: Batch, shards: Sequence[Shard]) -> bool:
    """Whether the first shard has answered all lines, each with a success that nobody looks at."""
    return (
        len(shards) == 1
        and shards[0].succeeded == batch.total
        and not shards[0].given_up
        and batch.reuse_seconds is None
    )


def final_state(batch: Batch, failed: int) -> BatchState:
    """How a batch ends."""
    if batch.stop == Stop.CANCEL:
        return BatchState.CANCELLED
    if batch.stop == Stop.EXPIRE and failed:
        return BatchState.EXPIRED
    return BatchState.COMPLETED

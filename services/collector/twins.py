"""Of the fetch step: lines that take the answers of equal lines of their batch.

In: a shard of such lines, of a batch whose other lines all have their outcome. Out: its result
lines; the shard settled, at no cost. What can go wrong: others are still under way (whoever settles
the last of them wakes it), or the store is away (the item comes back).
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial

from core.batchfile import Entry, Pairs, ResultWriter, listed_lines
from core.bus import Ack, Snooze
from core.failpoints import Failpoint
from core.ledger import Batch, File, Settlement, Shard, ShardPurpose, new_token, now
from core.pipeline import BorrowedAnswers, Runtime, Settler, renewing_lease
from core.pipeline.timing import EARLY
from services.collector.late_results import ResultsInconsistent
from services.collector.sources import ResultSources
from services.collector.unfinished import deleted_unless_written


class TwinAnswers:
    """Settles shards of such lines."""

    def __init__(self, runtime: Runtime, settler: Settler) -> None:
        self._ledger = runtime.ledger
        self._blobs = runtime.blobs
        self._settings = runtime.settings
        self._settler = settler
        self._lease = timedelta(seconds=runtime.settings.fetch_lease)

    async def handle(self, shard: Shard) -> Ack | Snooze:
        """Settle a shard, once all the other lines of its batch have their outcome."""
        if shard.id not in await self._ledger.lending.ready_twins(shard.batch_id):
            return Ack()
        wait = (shard.due_at - now()).total_seconds()
        if wait > EARLY:
            # Somebody writes them just now, or it was read before they were made due.
            return Snooze(min(wait, self._lease.total_seconds()))
        if not await self._ledger.shards.claim_fetch(shard, self._lease):
            return Snooze(self._lease.total_seconds())
        async with renewing_lease(partial(self._ledger.shards.renew_lease, shard), self._lease):
            batch = await self._ledger.batches.get(shard.batch_id)
            file = await self._ledger.files.get_input(batch) if batch else None
            if batch is None or file is None:
                message = "input_file_missing: the answers cannot be written."
                await self._settler.fill(shard, "input_file_missing", message)
                return Ack()
            await self._settle(shard, batch, file)
        return Ack()

    async def _settle(self, shard: Shard, batch: Batch, file: File) -> None:
        lines = (await listed_lines(self._blobs, shard.lines_key, shard.line_count)).lines
        firsts = array("I", await self._blobs.get(shard.firsts_key))
        pairs = Pairs()
        for line, first in zip(lines, firsts, strict=True):
            pairs.add(first, line)
        others = [
            each
            for each in await self._ledger.shards.of_batch(batch.id)
            if each.purpose not in (ShardPurpose.TWINS, ShardPurpose.REUSED)
        ]
        prefix = f"batches/{batch.id}/shards/{shard.id}/results/{new_token()}"
        segment_bytes = self._settings.segment_bytes
        writer = ResultWriter(
            self._blobs, prefix, point=Failpoint.SHARD_RESULTS, segment_bytes=segment_bytes
        )
        spool, reserve = self._settings.spool_dir, self._settings.work_reserve
        async with deleted_unless_written(
            self._blobs, prefix, writer, point=Failpoint.SHARD_RESULTS_DELETE
        ):
            with BorrowedAnswers(lines, spool, reserve=reserve) as answers:
                for source in ResultSources(self._blobs, batch, file).of_shards(others):
                    await _borrow(source.groups, pairs, answers)
                try:
                    written, saved = await answers.write(shard, batch, file, self._blobs, writer)
                except KeyError as missing:
                    raise ResultsInconsistent(
                        f"{batch.id}: the line that line {missing} is equal to has no result"
                    ) from missing
        settled = await self._settler.settle(
            shard,
            Settlement(
                written.succeeded,
                written.failed,
                cancelled=written.cancelled,
                expired=written.expired,
                results_prefix=prefix,
                reused=written.lines,
                saved_nanos=saved,
            ),
        )
        if not settled:
            await self._blobs.delete_prefix(prefix, point=Failpoint.SHARD_RESULTS_DELETE)


async def _borrow(
    source: AsyncGenerator[Sequence[Entry], None], pairs: Pairs, answers: BorrowedAnswers
) -> None:
    """Take the answers that a source has; its lines and the pairs both ascend."""
    wanted = iter(pairs)
    pair = next(wanted, None)
    async with aclosing(source) as groups:
        async for group in groups:
            for line, outcome, raw in group:
                while pair is not None and pair[0] < line:
                    pair = next(wanted, None)
                while pair is not None and pair[0] == line:
                    answers.add(pair[1], outcome, raw)
                    pair = next(wanted, None)
            if pair is None:
                return

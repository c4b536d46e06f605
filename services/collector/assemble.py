"""Step 6 of a batch's way: one result file, in input order, each input line exactly once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from operator import itemgetter

import structlog
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.batchfile import (
    INDEX,
    Entry,
    ResultFile,
    ResultWriter,
    answer_line,
    decode_request,
    error_json,
    read_listed,
    read_report,
    stream_records,
)
from core.blobs import StoredFile
from core.bus import Again, Delivery, Done
from core.failpoints import Failpoint
from core.flow import Backbone, kept
from core.ledger import Batch, BatchState, File, Shard, Stop, new_token, now
from core.metrics import BATCHES_ENDED
from core.wire import manifest_message

log = structlog.get_logger()

# What is read at a time while results are merged, of all shards and of one at most.
_MERGED_BYTES = 2 * 1024 * 1024
_LEAST_SPAN_BYTES = 64 * 1024
_MOST_SPAN_BYTES = 512 * 1024

_line_number = itemgetter(0)


class ResultsInconsistent(Exception):
    """The lines answered are not the lines asked: a fault of ours, never handed out."""


@dataclass(slots=True)
class _Source:
    """A stream of result lines in order, and where its reader stands."""

    groups: AsyncGenerator[Sequence[Entry], None]
    group: Sequence[Entry] = ()
    position: int = 0

    async def refill(self) -> bool:
        """Go to the next group that has lines; False at the end."""
        async for group in self.groups:
            if group:
                self.group, self.position = group, 0
                return True
        return False

    @property
    def last(self) -> int:
        """Line number at the group's end."""
        return self.group[-1][0]

    def take(self, last: int) -> Sequence[Entry]:
        """The group's lines up to a number, that have not been taken yet."""
        begin = self.position
        self.position = bisect_right(self.group, last, begin, key=_line_number)
        return self.group[begin : self.position]


class _Asked:
    """The line numbers of the input's index, in order."""

    def __init__(self, index: AsyncGenerator[bytes, None]) -> None:
        self._index = index
        self._lines: list[int] = []

    async def take(self, count: int) -> list[int]:
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

    def __init__(self, backbone: Backbone) -> None:
        self._ledger = backbone.ledger
        self._blobs = backbone.blobs
        self._announcer = backbone.announcer
        self._segment_bytes = backbone.settings.segment_bytes
        self._lease = timedelta(seconds=backbone.settings.fetch_lease)

    async def handle(self, item: WorkItem, delivery: Delivery) -> Done | Again:
        """Assemble the results of one batch and end it."""
        batch = await self._ledger.batches.start_finalizing(item.batch_id, now() + self._lease)
        if not isinstance(batch, Batch):
            if delivery.count > 1:
                # Whoever had it before may have died between the end and the cleaning up.
                await self._clean_up(item.batch_id)
            return Done()
        async with kept(partial(self._keep, batch.id), self._lease):
            await self._assemble(batch)
        return Done()

    async def _keep(self, batch_id: str, lease: timedelta) -> bool:
        return await self._ledger.batches.defer(batch_id, now() + lease)

    async def _assemble(self, batch: Batch) -> None:
        if batch.state == BatchState.FINALIZING:
            await self._announcer.changed(batch, BatchEvent.FINALIZING)
        file = await self._ledger.files.get_input(batch)
        if file is None:
            raise ResultsInconsistent(f"the input file of {batch.id} is gone")
        shards = await self._ledger.shards.of_batch(batch.id)
        # A prefix of its own for each attempt: two assemblers never write into each other.
        prefix = f"batches/{batch.id}/results/{new_token()}"
        writer = ResultWriter(
            self._blobs,
            prefix,
            point=Failpoint.BATCH_RESULTS,
            segment_bytes=self._segment_bytes,
        )
        async with AsyncExitStack() as stack:
            streams = self._sources(batch, file, shards)
            for stream in streams:
                await stack.enter_async_context(aclosing(stream))
            await self._merge(batch, file, streams, writer)
        written = await writer.close()
        succeeded, failed = written.succeeded, written.failed
        manifest = manifest_message(
            batch,
            file,
            shards,
            succeeded=succeeded,
            failed=failed,
            results_bytes=written.bytes,
            results_sha256=written.sha256,
        )
        await self._blobs.put(
            f"{prefix}/manifest", manifest.SerializeToString(), point=Failpoint.BATCH_MANIFEST
        )
        ended = await self._ledger.batches.end(
            batch.id, final_state(batch, failed), prefix, succeeded=succeeded, failed=failed
        )
        if not isinstance(ended, Batch):
            await self._blobs.delete_prefix(prefix, point=Failpoint.BATCH_RESULTS_DELETE)
            return
        BATCHES_ENDED.labels(BatchState(ended.state).value).inc()
        log.info(
            "batch_ended",
            batch_id=batch.id,
            state=ended.state,
            succeeded=succeeded,
            failed=failed,
            result_bytes=written.bytes,
        )
        await self._announcer.changed(ended, BatchEvent.ENDED)
        await self._clean_up(batch.id)

    async def _clean_up(self, batch_id: str) -> None:
        """Delete what an ended batch no longer needs, and what dead assemblers have left."""
        batch = await self._ledger.batches.get(batch_id)
        if batch is None or not batch.ended or not batch.results_prefix:
            return
        written = await self._blobs.list(f"batches/{batch_id}/results")
        strays = [key for key, _ in written if not key.startswith(f"{batch.results_prefix}/")]
        await self._blobs.delete(strays, point=Failpoint.BATCH_RESULTS_DELETE)
        await self._blobs.delete_prefix(
            f"batches/{batch_id}/shards", point=Failpoint.BATCH_SHARDS_DELETE
        )

    async def _merge(
        self,
        batch: Batch,
        file: File,
        streams: Sequence[AsyncGenerator[Sequence[Entry], None]],
        writer: ResultWriter,
    ) -> None:
        """Merge all sources by line number; check that they answer the lines of the input.

        Goes from one end of a source's group to the next, as sorting what lies between
        is cheaper than merging line by line. Raises ResultsInconsistent.
        """
        sources = [source for source in map(_Source, streams) if await source.refill()]
        index = await StoredFile.open(self._blobs, f"{file.prefix}/index")
        async with aclosing(stream_records(index, INDEX.size)) as records:
            asked = _Asked(records)
            while sources:
                last = min(source.last for source in sources)
                lines = [entry for source in sources for entry in source.take(last)]
                lines.sort(key=_line_number)
                answered = [line for line, _, _ in lines]
                if answered != await asked.take(len(lines)):
                    raise ResultsInconsistent(
                        f"{batch.id}: among the lines {answered[0]} to {last}, one has no "
                        "result, or two, or was not asked"
                    )
                await writer.extend(lines)
                sources = [
                    source for source in sources if source.last > last or await source.refill()
                ]
            left = await asked.take(1)
        if left:
            raise ResultsInconsistent(f"{batch.id}: line {left[0]} has no result")

    def _sources(
        self, batch: Batch, file: File, shards: Sequence[Shard]
    ) -> list[AsyncGenerator[Sequence[Entry], None]]:
        sources: list[AsyncGenerator[Sequence[Entry], None]] = []
        span = max(_LEAST_SPAN_BYTES, min(_MERGED_BYTES // (len(shards) or 1), _MOST_SPAN_BYTES))
        for shard in shards:
            if shard.results_prefix:
                sources.append(self._stored(shard, span))
            elif shard.fill_code:
                sources.append(self._filled(batch, file, shard))
        if batch.invalid:
            sources.append(self._invalid(batch, file))
        return sources

    async def _stored(self, shard: Shard, span: int) -> AsyncGenerator[Sequence[Entry], None]:
        """The lines that a shard's results hold."""
        results = await ResultFile.open(self._blobs, shard.results_prefix)
        async with aclosing(results.lines(span_bytes=span)) as groups:
            async for group in groups:
                yield [found[1:] for found in group]

    async def _filled(
        self, batch: Batch, file: File, shard: Shard
    ) -> AsyncGenerator[Sequence[Entry], None]:
        """The lines of a shard that ended as a whole, each with the shard's error."""
        error = error_json(shard.fill_code, shard.fill_message)
        data = await StoredFile.open(self._blobs, f"{file.prefix}/data")
        models = [group["model"] for group in file.groups]
        async with aclosing(
            read_listed(data, self._blobs, shard.lines_key, shard.line_count)
        ) as groups:
            async for lines in groups:
                yield [
                    (
                        line,
                        False,
                        answer_line(
                            batch.id,
                            line,
                            decode_request(raw).custom_id,
                            None,
                            error,
                            model=models[number],
                            attempts=shard.round,
                        )
                        + b"\n",
                    )
                    for (_offset, _length, line, number, _flags), raw in lines
                ]

    async def _invalid(self, batch: Batch, file: File) -> AsyncGenerator[Sequence[Entry], None]:
        """The lines that failed the check at upload, each with what the report says of it."""
        report = await StoredFile.open(self._blobs, f"{file.prefix}/report")
        last = 0
        async for problems in read_report(report):
            group: list[Entry] = []
            for problem in problems:
                # One line may have several problems; its first stands for it.
                if problem.severity != "error" or problem.line == last:
                    continue
                if problem.lenient and batch.lenient_translation:
                    continue
                last = problem.line
                error = error_json(
                    problem.reason, f"{problem.field}: {problem.message}".removeprefix(": ")
                )
                answer = answer_line(batch.id, last, problem.custom_id, None, error)
                group.append((last, False, answer + b"\n"))
            yield group


def final_state(batch: Batch, failed: int) -> BatchState:
    """How a batch ends."""
    if batch.stop == Stop.CANCEL:
        return BatchState.CANCELLED
    if batch.stop == Stop.EXPIRE and failed:
        return BatchState.EXPIRED
    return BatchState.COMPLETED

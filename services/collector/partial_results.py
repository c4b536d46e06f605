"""What is settled so far of a batch that runs, in input order: the same lines that its results will
have, each from the moment on at which nothing can change it any more.

In: a batch, and the span of its revisions in which the lines were settled. Out: those lines. What
can go wrong: the batch ends meanwhile, and what its shards had kept is deleted: then the rest comes
out of its results, where the same lines stand. So for a caller that notices nothing, a span of
revisions has the same lines for ever (but for late answers, which are another revision of the
results).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from polybatch.v1 import results_pb2

from core.batchfile import (
    AT_END,
    FROM_START,
    INDEX,
    Entry,
    ResultFile,
    ResultLine,
    SettledBetween,
)
from core.blobs import BlobMissing, BlobStore, StoredFile
from core.ledger import Batch, Ledger, Shard, ShardState
from core.serving import ApiError
from services.collector.earlier_costs import EarlierCosts
from services.collector.sources import ResultSources, merged

_READS_AT_ONCE = 16
_MOST_KNOWN = 100_000
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """Which of a batch's settled lines."""

    after: int = 0
    """Settled after this revision of the batch."""
    until: int = AT_END
    """And not after this one."""
    after_line: int = 0
    """With higher numbers in the input."""
    succeeded: bool | None = None
    """Only those of this outcome."""

    def has(self, shard: Shard) -> bool:
        """Whether it has the lines of a shard."""
        if shard.state != ShardState.SETTLED or shard.given_up:
            # What a batch has given up may still be answered before its results are written.
            return False
        # Without a revision, as before these were kept, its lines come with the batch's end.
        return bool(shard.settled_revision) and self.after < shard.settled_revision <= self.until

    @property
    def has_invalid(self) -> bool:
        """Whether it has the lines that were bad from the start."""
        return self.after < FROM_START <= self.until


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is there."""

    lines: int
    """Of the span, its `after_line` left out of account."""
    settled_lines: int
    """Of the batch."""
    complete_until: int
    """The line up to which none is missing."""


class PartialResults:
    """Reads them."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._first_lines: dict[str, int] = {}
        """Of shards, which never change: whoever follows a batch asks for them each time."""

    async def extent(self, batch: Batch, span: Span) -> tuple[Batch, Span, Extent]:
        """How much of a span there is, and of all that is settled, with the batch that it is of.

        The span returned ends where the batch stands. Raises BlobMissing.
        """
        try:
            return await self._extent(batch, span)
        except BlobMissing:
            fresh = await self._ledger.batches.get(batch.id)
            if fresh is None or fresh.results_prefix in ("", batch.results_prefix):
                raise
            return await self._extent(fresh, span)

    async def _extent(self, batch: Batch, span: Span) -> tuple[Batch, Span, Extent]:
        if batch.ended:
            results, settled = await self._open_ended(batch, span)
            lines = await results.count(settled, span.succeeded)
            return batch, span, Extent(lines, results.line_count, await results.last_line())
        span = replace(span, until=min(span.until, batch.revision))
        shards = await self._ledger.shards.of_batch(batch.id)
        settled_now = Span(until=batch.revision)
        lines = _lines([shard for shard in shards if span.has(shard)], span.succeeded)
        if span.has_invalid and not span.succeeded:
            lines += batch.invalid
        settled_lines = _lines([shard for shard in shards if settled_now.has(shard)], None)
        missing = [shard for shard in shards if not settled_now.has(shard)]
        complete_until = await self._complete_until(batch, missing) if shards else 0
        return batch, span, Extent(lines, settled_lines + batch.invalid, complete_until)

    async def groups(self, batch: Batch, span: Span) -> AsyncGenerator[Sequence[Entry], None]:
        """Yield the lines of a span in input order. Memory: as merging the results of its shards.

        Raises BlobMissing where results are gone for good.
        """
        while True:
            lines = self._of_ended(batch, span) if batch.ended else self._of_running(batch, span)
            try:
                async with aclosing(lines) as groups:
                    async for group in groups:
                        yield group
                        span = replace(span, after_line=group[-1][0])
                return
            except BlobMissing:
                fresh = await self._ledger.batches.get(batch.id)
                if fresh is None or fresh.results_prefix in ("", batch.results_prefix):
                    raise
                # The results have taken the place of what was being read, or newer ones of these.
                batch = fresh

    async def lines(self, batch: Batch, span: Span) -> AsyncGenerator[Sequence[ResultLine], None]:
        """The same as result lines, which have no numbers of their own yet."""
        async with aclosing(self.groups(batch, span)) as groups:
            async for group in groups:
                yield [ResultLine(0, *entry) for entry in group]

    async def _of_running(self, batch: Batch, span: Span) -> AsyncGenerator[Sequence[Entry], None]:
        shards = await self._ledger.shards.of_batch(batch.id)
        file = await self._ledger.files.get_input(batch)
        earlier = await EarlierCosts.of(
            self._blobs, [shard for shard in shards if Span(until=batch.revision).has(shard)]
        )
        sources = []
        if file is not None:
            opened = ResultSources(
                self._blobs, batch, file, after_line=span.after_line, succeeded=span.succeeded
            )
            sources = opened.of_batch(
                [shard for shard in shards if span.has(shard)], invalid=span.has_invalid
            )
        checked = False
        async with aclosing(merged(sources)) as groups:
            async for lines, _ in groups:
                if not checked:
                    await self._check_running(batch)
                    checked = True
                yield earlier.add_to(lines)
        if not checked:
            await self._check_running(batch)

    async def _check_running(self, batch: Batch) -> None:
        """Everything is open: what is deleted from now on is missed when it is read."""
        fresh = await self._ledger.batches.get(batch.id)
        if fresh is None or fresh.ended:
            # What was deleted before may have passed for something that never had lines.
            raise BlobMissing("the batch has ended", key=f"batches/{batch.id}/shards")

    async def _of_ended(self, batch: Batch, span: Span) -> AsyncGenerator[Sequence[Entry], None]:
        results, settled = await self._open_ended(batch, span)
        first = await results.beyond(span.after_line)
        async with aclosing(
            results.lines(first, succeeded=span.succeeded, settled=settled)
        ) as groups:
            async for group in groups:
                yield [found[1:] for found in group]

    async def _open_ended(self, batch: Batch, span: Span) -> tuple[ResultFile, SettledBetween]:
        prefix = batch.results_prefix
        results = await ResultFile.open(self._blobs, prefix)
        if results.line_count != batch.total:
            raise BlobMissing("the results are gone", key=prefix)
        return results, await SettledBetween.open(self._blobs, prefix, span.after, span.until)

    async def _complete_until(self, batch: Batch, missing: Sequence[Shard]) -> int:
        """The number before that of the first line of some shards; of none, the last of all."""
        if not missing:
            file = await self._ledger.files.get_input(batch)
            index = await StoredFile.open(self._blobs, f"{file.prefix}/index" if file else "")
            return _line_of(await index.read(index.size - INDEX.size, INDEX.size))
        if len(self._first_lines) > _MOST_KNOWN:
            # Another one: who counts on the old one goes on with that.
            self._first_lines = {}
        known, limit = self._first_lines, asyncio.Semaphore(_READS_AT_ONCE)

        async def read(shard: Shard) -> None:
            async with limit:
                record = await self._blobs.get_range(shard.lines_key, 0, INDEX.size)
            known[shard.id] = _line_of(record)

        await asyncio.gather(*(read(shard) for shard in missing if shard.id not in known))
        return min(known[shard.id] for shard in missing) - 1


def _line_of(record: bytes) -> int:
    line: int = INDEX.unpack(record)[2]
    return line


def _lines(shards: Sequence[Shard], succeeded: bool | None) -> int:
    return sum(
        (0 if succeeded is False else shard.succeeded) + (0 if succeeded else shard.failed)
        for shard in shards
    )


def span_of(request: results_pb2.DownloadResultsRequest, succeeded: bool | None) -> Span:
    """What a partial download asks for. Raises INVALID_FIELD."""
    wrong = [
        (name, f"from 0 to {AT_END}")
        for name in ("settled_after", "settled_until", "after_line")
        if not 0 <= getattr(request, name) <= AT_END
    ]
    if request.merged and request.partial:
        wrong.append(("merged", "none together with partial: leave out one"))
    if request.offset:
        wrong.append(("offset", "0: go on behind a line, with after_line"))
    if wrong:
        field, expected = wrong[0]
        raise ApiError.invalid_argument(
            "INVALID_FIELD", f"{field}: expected {expected}", violations=wrong
        )
    return Span(
        request.settled_after, request.settled_until or AT_END, request.after_line, succeeded
    )


async def chunks_of(groups: AsyncGenerator[Sequence[Entry], None]) -> AsyncGenerator[bytes, None]:
    """Yield the lines as bytes, in chunks of 256 KiB at most."""
    async with aclosing(groups):
        async for group in groups:
            joined = b"".join([raw for _, _, raw in group])
            for start in range(0, len(joined), _CHUNK_BYTES):
                yield joined[start : start + _CHUNK_BYTES]

"""Where the lines of a batch's results come from, each source in input order."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from operator import itemgetter

from core.batchfile import (
    AT_END,
    FROM_START,
    Entry,
    LineOutcome,
    ResultFile,
    answer_line,
    decode_request,
    error_json,
    list_beyond,
    read_listed,
    read_report,
)
from core.blobs import BlobStore, StoredFile
from core.ledger import Batch, File, Shard

# What is read at a time while results are merged, of all shards and of one at most.
_MERGED_BYTES = 2 * 1024 * 1024
_LEAST_SPAN_BYTES = 64 * 1024
_MOST_SPAN_BYTES = 512 * 1024

line_number = itemgetter(0)


@dataclass(slots=True)
class Source:
    """A stream of result lines in order, and where its reader stands."""

    groups: AsyncGenerator[Sequence[Entry], None]
    settled: int = AT_END
    """The revision of the batch that gave all its lines their outcome."""
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
        self.position = bisect_right(self.group, last, begin, key=line_number)
        return self.group[begin : self.position]

    async def until(self, last: int) -> list[Entry]:
        """All lines up to a number that have not been taken yet, from any number of groups."""
        taken: list[Entry] = []
        while self.group:
            taken += self.take(last)
            if self.last > last:
                break
            if not await self.refill():
                self.group = ()
        return taken


async def merged(
    sources: Sequence[Source],
) -> AsyncGenerator[tuple[list[Entry], array[int]], None]:
    """Yield the lines of all sources in order, with the revision that settled each.

    Goes from one end of a source's group to the next, as sorting what lies between is cheaper than
    merging line by line. The sources are closed at the end.
    """
    async with AsyncExitStack() as stack:
        for source in sources:
            await stack.enter_async_context(aclosing(source.groups))
        sources = [source for source in sources if await source.refill()]
        while sources:
            last = min(source.last for source in sources)
            parts = [(source.settled, source.take(last)) for source in sources]
            lines = [entry for _, part in parts for entry in part]
            lines.sort(key=line_number)
            yield lines, _revisions(lines, parts)
            sources = [source for source in sources if source.last > last or await source.refill()]


def _revisions(lines: Sequence[Entry], parts: Sequence[tuple[int, Sequence[Entry]]]) -> array[int]:
    found = {settled for settled, part in parts if part}
    if len(found) == 1:
        return array("I", found) * len(lines)
    of_line: dict[int, int] = {}
    for settled, part in parts:
        of_line |= dict.fromkeys(map(line_number, part), settled)
    return array("I", map(of_line.__getitem__, map(line_number, lines)))


class ResultSources:
    """Opens the sources of one batch."""

    def __init__(
        self,
        blobs: BlobStore,
        batch: Batch,
        file: File,
        *,
        after_line: int = 0,
        succeeded: bool | None = None,
    ) -> None:
        """`after_line`: only lines with higher numbers; `succeeded`: only those of this outcome."""
        self._blobs = blobs
        self._batch = batch
        self._file = file
        self._after_line = after_line
        self._succeeded = succeeded

    def of_batch(self, shards: Sequence[Shard], *, invalid: bool = True) -> list[Source]:
        """All that the results of a batch are made of, with what it has of these shards now.

        `invalid`: with the lines that were bad from the start.
        """
        sources = self.of_shards(shards)
        if invalid and self._batch.invalid and not self._succeeded:
            sources.append(Source(self._invalid(), FROM_START))
        return sources

    def of_shards(self, shards: Sequence[Shard]) -> list[Source]:
        """What the batch has of its shards now."""
        sources: list[Source] = []
        span = span_of_each(len(shards))
        for shard in shards:
            settled = AT_END if shard.given_up else shard.settled_revision or AT_END
            if shard.results_prefix and not shard.given_up:
                sources.append(Source(self._stored(shard, span), settled))
            elif shard.fill_code and not self._succeeded:
                sources.append(Source(self._filled(shard), settled))
        return sources

    def late(self, shards: Sequence[Shard]) -> list[AsyncGenerator[Sequence[Entry], None]]:
        """What has become of settled shards that the batch had given up."""
        span = span_of_each(len(shards))
        return [
            self._stored(shard, span) if shard.results_prefix else self._filled(shard)
            for shard in shards
        ]

    async def _stored(self, shard: Shard, span: int) -> AsyncGenerator[Sequence[Entry], None]:
        """The lines that a shard's results hold."""
        results = await ResultFile.open(self._blobs, shard.results_prefix)
        first = await results.beyond(self._after_line)
        if self._succeeded is None:
            async with aclosing(results.entries(first, span_bytes=span)) as entries:
                async for some in entries:
                    yield some
            return
        async with aclosing(
            results.lines(first, succeeded=self._succeeded, span_bytes=span)
        ) as groups:
            async for group in groups:
                yield [found[1:] for found in group]

    async def _filled(self, shard: Shard) -> AsyncGenerator[Sequence[Entry], None]:
        """The lines of a shard that ended as a whole, each with the shard's error."""
        error = error_json(shard.fill_code, shard.fill_message)
        outcome = LineOutcome.of_code(shard.fill_code)
        data = await StoredFile.open(self._blobs, f"{self._file.prefix}/data")
        models = [group["model"] for group in self._file.groups]
        key, count = shard.lines_key, shard.line_count
        first = await list_beyond(self._blobs, key, count, self._after_line)
        async with aclosing(read_listed(data, self._blobs, key, count, first=first)) as groups:
            async for lines in groups:
                yield [
                    (
                        line,
                        outcome,
                        answer_line(
                            self._batch.id,
                            line,
                            decode_request(raw).custom_id,
                            None,
                            error,
                            model=models[number],
                            attempts=shard.times_sent,
                        )
                        + b"\n",
                    )
                    for (_offset, _length, line, number, _flags), raw in lines
                ]

    async def _invalid(self) -> AsyncGenerator[Sequence[Entry], None]:
        """The lines that failed the check at upload, each with what the report says of it."""
        report = await StoredFile.open(self._blobs, f"{self._file.prefix}/report")
        last = 0
        async for problems in read_report(report):
            group: list[Entry] = []
            for problem in problems:
                # One line may have several problems; its first stands for it.
                if problem.severity != "error" or problem.line == last:
                    continue
                if problem.lenient and self._batch.lenient_translation:
                    continue
                last = problem.line
                if last <= self._after_line:
                    continue
                error = error_json(
                    problem.reason, f"{problem.field}: {problem.message}".removeprefix(": ")
                )
                answer = answer_line(self._batch.id, last, problem.custom_id, None, error)
                group.append((last, LineOutcome.FAILED, answer + b"\n"))
            yield group


def span_of_each(sources: int) -> int:
    """Bytes to read at a time of each of so many sources."""
    return max(_LEAST_SPAN_BYTES, min(_MERGED_BYTES // (sources or 1), _MOST_SPAN_BYTES))

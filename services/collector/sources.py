"""Where the lines of a batch's results come from, each source in input order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from operator import itemgetter

from core.batchfile import (
    Entry,
    LineOutcome,
    ResultFile,
    answer_line,
    decode_request,
    error_json,
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


class ResultSources:
    """Opens the sources of one batch."""

    def __init__(self, blobs: BlobStore, batch: Batch, file: File) -> None:
        self._blobs = blobs
        self._batch = batch
        self._file = file

    def of_batch(self, shards: Sequence[Shard]) -> list[AsyncGenerator[Sequence[Entry], None]]:
        """All that the results of a batch are made of, with what it has of its shards now."""
        sources = self.of_shards(shards)
        if self._batch.invalid:
            sources.append(self._invalid())
        return sources

    def of_shards(self, shards: Sequence[Shard]) -> list[AsyncGenerator[Sequence[Entry], None]]:
        """What the batch has of its shards now."""
        sources: list[AsyncGenerator[Sequence[Entry], None]] = []
        span = _span(len(shards))
        for shard in shards:
            if shard.results_prefix and not shard.given_up:
                sources.append(self._stored(shard, span))
            elif shard.fill_code:
                sources.append(self._filled(shard))
        return sources

    def late(self, shards: Sequence[Shard]) -> list[AsyncGenerator[Sequence[Entry], None]]:
        """What has become of settled shards that the batch had given up."""
        span = _span(len(shards))
        return [
            self._stored(shard, span) if shard.results_prefix else self._filled(shard)
            for shard in shards
        ]

    async def _stored(self, shard: Shard, span: int) -> AsyncGenerator[Sequence[Entry], None]:
        """The lines that a shard's results hold."""
        results = await ResultFile.open(self._blobs, shard.results_prefix)
        async with aclosing(results.lines(span_bytes=span)) as groups:
            async for group in groups:
                yield [found[1:] for found in group]

    async def _filled(self, shard: Shard) -> AsyncGenerator[Sequence[Entry], None]:
        """The lines of a shard that ended as a whole, each with the shard's error."""
        error = error_json(shard.fill_code, shard.fill_message)
        outcome = LineOutcome.of_code(shard.fill_code)
        data = await StoredFile.open(self._blobs, f"{self._file.prefix}/data")
        models = [group["model"] for group in self._file.groups]
        async with aclosing(
            read_listed(data, self._blobs, shard.lines_key, shard.line_count)
        ) as groups:
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
                error = error_json(
                    problem.reason, f"{problem.field}: {problem.message}".removeprefix(": ")
                )
                answer = answer_line(self._batch.id, last, problem.custom_id, None, error)
                group.append((last, LineOutcome.FAILED, answer + b"\n"))
            yield group


def _span(sources: int) -> int:
    return max(_LEAST_SPAN_BYTES, min(_MERGED_BYTES // (sources or 1), _MOST_SPAN_BYTES))

"""The results of a family as one file: each line of a batch's input once, with its newest outcome.

In: a batch and its retries, and theirs. Out: the batch's result lines, where a retry that has ended
did better, or failed again later, its line in the place of the batch's, under the batch's id and
with what the line has cost in all. Memory: a few reads of each of their results.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing

from core.batchfile import Entry, LineOutcome, ResultFile, ResultLine, add_cost, cost_of
from core.blobs import BlobMissing, BlobStore
from core.ledger import Batch, Ledger, ResultsGone
from services.collector.sources import Source, span_of_each

_HEAD = b'{"id":"%s-'


class FamilyResults:
    """Merges them."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs

    async def members(self, batch: Batch) -> list[Batch]:
        """A batch and all that retry lines of it, itself first, then oldest first."""
        return await self._ledger.families.members(batch.id) if batch.retries else [batch]

    async def groups(
        self, batch: Batch, after_line: int, succeeded: bool | None
    ) -> AsyncGenerator[Sequence[Entry], None]:
        """Yield lines in input order. `after_line`: only those with higher numbers.

        `succeeded`: only those of this outcome, in the end. Raises BlobMissing where results are
        gone for good.
        """
        family = await self.members(batch)
        while True:
            try:
                async with aclosing(self._merged(family, after_line)) as groups:
                    async for group in groups:
                        yield [
                            entry
                            for entry in group
                            if succeeded in (None, entry[1] == LineOutcome.SUCCEEDED)
                        ]
                        after_line = group[-1][0]
                return
            except BlobMissing:
                fresh = await self._ledger.families.members(batch.id)
                if not fresh[0].results_prefix or _prefixes(fresh) == _prefixes(family):
                    raise
                # Late answers have come to one of them.
                family = fresh

    async def _merged(
        self, family: Sequence[Batch], after_line: int
    ) -> AsyncGenerator[list[Entry], None]:
        oldest, *retries = family
        ended = [each for each in retries if each.results_prefix and each.deleted_at is None]
        span = span_of_each(len(ended) + 1)
        async with AsyncExitStack() as stack:
            sources: list[tuple[bytes, Source]] = []
            for each in ended:
                source = Source(self._lines(each, after_line, span))
                await stack.enter_async_context(aclosing(source.groups))
                if await source.refill():
                    sources.append((_HEAD % each.id.encode(), source))
            head = _HEAD % oldest.id.encode()
            own = await stack.enter_async_context(aclosing(self._lines(oldest, after_line, span)))
            async for group in own:
                newer = [(prefix, await source.until(group[-1][0])) for prefix, source in sources]
                yield _newest(group, head, [each for each in newer if each[1]])

    async def _lines(
        self, batch: Batch, after_line: int, span: int
    ) -> AsyncGenerator[Sequence[Entry], None]:
        results = await ResultFile.open(self._blobs, batch.results_prefix)
        if results.line_count != batch.total:
            raise BlobMissing("the results are gone", key=batch.results_prefix)
        first = await results.beyond(after_line)
        async with aclosing(results.lines(first, span_bytes=span)) as groups:
            async for group in groups:
                kept = [found[1:] for found in group if not _is_gone(batch, found)]
                if kept:
                    yield kept


def _is_gone(batch: Batch, line: ResultLine) -> bool:
    """Whether its owner has deleted the kind of results that a line is of."""
    kind = ResultsGone.SUCCEEDED if line.succeeded else ResultsGone.FAILED
    return bool(ResultsGone(batch.results_gone) & kind)


def _newest(
    group: Sequence[Entry], head: bytes, newer: Iterable[tuple[bytes, Sequence[Entry]]]
) -> list[Entry]:
    """The lines of a batch, where a retry has them as well, with the better outcome."""
    lines = {entry[0]: entry for entry in group}
    for prefix, entries in newer:
        for entry in entries:
            line, outcome, raw = entry
            before = lines.get(line)
            if before is None:
                continue
            if before[1] == LineOutcome.SUCCEEDED:
                lines[line] = line, before[1], add_cost(before[2], cost_of(raw))
            else:
                renamed = head + raw.removeprefix(prefix)
                lines[line] = line, outcome, add_cost(renamed, cost_of(before[2]))
    return list(lines.values())


def _prefixes(family: Sequence[Batch]) -> list[tuple[str, str]]:
    return [(batch.id, batch.results_prefix) for batch in family]

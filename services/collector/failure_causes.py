"""The failures of a batch by cause: how many lines, which first, and what to do about it.

In: result lines that did not succeed, in the order of the input. Out: the most frequent causes.
Memory is bounded: lines of causes that come when a thousand are known are counted together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Sequence

from polybatch.v1 import results_pb2

from core.batchfile import ResultLine, read_failure
from core.failure_causes import Cause, providers_by_model
from core.failure_hints import hint
from core.ledger import Batch, Ledger
from core.pipeline import outages

_MOST_CAUSES = 1000
_SHOWN_CAUSES = 100
_FIRST_LINES = 5


class FailureCauses:
    """Groups the failed lines of batches."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def providers(self, batch: Batch) -> dict[str, str]:
        """Which provider a line of the batch went to, by the model that it names."""
        with outages():
            file = await self._ledger.files.get_input(batch)
            if file is not None:
                return providers_by_model(file.groups)
            # The input has been deleted.
            shards = await self._ledger.shards.of_batch(batch.id)
        return providers_by_model(
            {"model": shard.model, "provider": shard.provider} for shard in shards
        )

    async def group(
        self, batch: Batch, groups: AsyncIterable[Sequence[ResultLine]]
    ) -> results_pb2.ListFailureCausesResponse:
        """The most frequent causes of the lines, none of which succeeded."""
        tally = CauseTally(await self.providers(batch))
        async for group in groups:
            # Patterns over thousands of messages would hold up the event loop.
            await asyncio.to_thread(tally.add, group)
        return tally.told()


class CauseTally:
    """Counts lines by cause."""

    def __init__(self, providers: dict[str, str], most_causes: int = _MOST_CAUSES) -> None:
        self._providers = providers
        self._most_causes = most_causes
        self._first: dict[Cause, list[int]] = {}
        self._lines: dict[Cause, int] = {}
        self._all = 0

    def add(self, lines: Sequence[ResultLine]) -> None:
        """Take in lines that did not succeed, in the order of the input."""
        counts = self._lines
        self._all += len(lines)
        for found in lines:
            cause = read_failure(found.raw).cause(self._providers)
            if cause not in counts:
                if len(counts) == self._most_causes:
                    continue
                counts[cause], self._first[cause] = 0, []
            counts[cause] += 1
            if counts[cause] <= _FIRST_LINES:
                self._first[cause].append(found.line)

    def told(self) -> results_pb2.ListFailureCausesResponse:
        """What was counted, the most frequent first; of equally frequent ones the earlier."""
        shown = sorted(self._lines.items(), key=lambda item: (-item[1], self._first[item[0]]))
        del shown[_SHOWN_CAUSES:]
        return results_pb2.ListFailureCausesResponse(
            causes=[
                results_pb2.FailureCause(
                    id=cause.id,
                    provider=cause.provider,
                    code=cause.code,
                    field=cause.field,
                    message=cause.message,
                    line_count=lines,
                    share=lines / self._all,
                    first_lines=self._first[cause],
                    hint=hint(cause.code),
                )
                for cause, lines in shown
            ],
            failure_count=self._all,
            other_line_count=self._all - sum(lines for _, lines in shown),
        )

"""Give a shard's lines their outcome, count them, and wake whoever comes next: the one way in
which dispatcher and collector settle.

In: a shard and its Settlement. Out: the ledger's transition, metrics, events, the next step on the
bus. What can go wrong: it was settled already (False: what the caller wrote is of no use).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Step
from core.ledger import Batch, Settlement, Shard, ShardState, Spent
from core.metrics import LINES_SETTLED, SPEND, TOKENS, UNPRICED_LINES
from core.pipeline.consequences import Consequences
from core.pipeline.funds import AT_ONCE, WaitingForFunds
from core.pipeline.runtime import Runtime
from core.providers import CATALOGUE

_OTHER_MODEL = "other"


class Settler:
    """Settles shards. A shard that somebody else settled before is left alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._waiting = WaitingForFunds(runtime.ledger, runtime.publisher)
        self._consequences = Consequences(runtime)

    async def fill(self, shard: Shard, code: str, message: str) -> bool:
        """End every line of the shard with one error."""
        return await self.settle(shard, Settlement.filled(shard.line_count, code, message))

    async def settle(
        self, shard: Shard, settlement: Settlement, retry: Sequence[Shard] = ()
    ) -> bool:
        """Settle; False when the shard was settled already.

        `retry`: shards that take over those of its lines that count as retried.
        """
        batch = await self._ledger.shards.settle(shard, settlement, retry)
        if not isinstance(batch, Batch):
            return False
        _count(shard.provider, settlement)
        kind = BatchEvent.SHARD_RETRIED if retry else BatchEvent.SHARD_SETTLED
        await self._publisher.changed(batch, kind, shard)
        for successor in retry:
            if not successor.waits_for_funds:
                await self._publisher.enqueue(Step.SUBMIT, batch.id, successor.id)
        await self._consequences.of(shard, batch)
        # Of a batch that has ended, the answers came late: they are merged into its results.
        if batch.all_settled:
            await self._publisher.enqueue(Step.ASSEMBLE, batch.id)
            return True
        if shard.state != ShardState.QUEUED:
            await self.wake_waiting(batch)
        return True

    async def wake_waiting(self, batch: Batch) -> None:
        """What is under way of a batch has become less: there may be enough for what waits."""
        if batch.max_cost_nanos is not None:
            for shard_id in await self._ledger.stop_loss.waiting(batch.id, AT_ONCE):
                await self._publisher.enqueue(Step.SUBMIT, batch.id, shard_id)
        await self._waiting.batch(batch)


def count_from_zero(providers: Iterable[str]) -> None:
    """Show the counts that alerts stand on before there is anything to count.

    Prometheus sees no increase in a value that it meets for the first time, so the first shard
    after a start would raise no alert.
    """
    for provider in providers:
        _count(provider, Settlement(0, 0))


def _count(provider: str, settlement: Settlement) -> None:
    for outcome, lines in (
        ("succeeded", settlement.succeeded),
        ("failed", settlement.failed - settlement.cancelled - settlement.expired),
        ("cancelled", settlement.cancelled),
        ("expired", settlement.expired),
        ("retried", settlement.retried),
    ):
        LINES_SETTLED.labels(provider, outcome).inc(lines)
    spent = Spent(settlement.spend)
    for kind, tokens in (
        ("input", spent.input_tokens),
        ("cached_input", spent.cached_input_tokens),
        ("cache_write", spent.cache_write_tokens),
        ("output", spent.output_tokens),
        ("reasoning", spent.reasoning_tokens),
    ):
        TOKENS.labels(provider, kind).inc(tokens)
    UNPRICED_LINES.labels(provider).inc(spent.unpriced_lines)
    for each in settlement.spend:
        SPEND.labels(provider, _shown_model(provider, each.model)).inc(each.cost_nanos / 1e9)


def _shown_model(provider: str, model: str) -> str:
    """The model's id if the catalogue lists it: users may name any, and labels must be few."""
    return CATALOGUE.listed_id(provider, model) or _OTHER_MODEL

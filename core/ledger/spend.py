"""What the lines of a shard used and cost, by model: the rows that usage is told from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from core.ledger.tables import Batch, Shard, UsageRow, now


@dataclass(frozen=True, slots=True)
class ModelSpend:
    """What one model of a shard used. Tokens and lines are those of all answers of this shard,
    also of lines that are sent again in another one."""

    model: str
    """As named in the file."""
    lines: int
    """Answered, well or ill."""
    unpriced_lines: int = 0
    """Of these, lines with tokens and without a price."""
    input_tokens: int = 0
    """With those that were read from a cache and written to one."""
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanos: int = 0


class Spent:
    """The sums of what models used."""

    def __init__(self, spend: Iterable[ModelSpend]) -> None:
        spend = tuple(spend)
        self.unpriced_lines = sum(each.unpriced_lines for each in spend)
        self.input_tokens = sum(each.input_tokens for each in spend)
        self.cached_input_tokens = sum(each.cached_input_tokens for each in spend)
        self.cache_write_tokens = sum(each.cache_write_tokens for each in spend)
        self.output_tokens = sum(each.output_tokens for each in spend)
        self.reasoning_tokens = sum(each.reasoning_tokens for each in spend)
        self.cost_nanos = sum(each.cost_nanos for each in spend)


def usage_rows(batch: Batch, shard: Shard, spend: Iterable[ModelSpend]) -> Iterator[UsageRow]:
    """The rows of a settled shard, of the day on which it was settled."""
    day = (shard.settled_at or now()).date()
    for each in spend:
        yield UsageRow(
            shard_id=shard.id,
            model=each.model,
            account_id=batch.account_id,
            key_id=batch.key_id,
            batch_id=batch.id,
            provider=shard.provider,
            day=day,
            late=shard.given_up_at is not None,
            lines=each.lines,
            unpriced_lines=each.unpriced_lines,
            input_tokens=each.input_tokens,
            cached_input_tokens=each.cached_input_tokens,
            cache_write_tokens=each.cache_write_tokens,
            output_tokens=each.output_tokens,
            reasoning_tokens=each.reasoning_tokens,
            cost_nanos=each.cost_nanos,
        )

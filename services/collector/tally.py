"""What the lines of a shard used and cost, counted as their answers come.

In: the usage of one answer after the other, each at the position of its line. Out: what each line
cost, and sums by model. Prices are those that the batch keeps: a line's cost is integers only, so
sums of lines, shards and batches agree to the nano-dollar.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from core.ledger import ModelSpend
from core.pipeline import PricedModel
from core.prices.rates import Price
from core.prices.usage import NO_USAGE, Usage

UNPRICED = -1
"""In the place of a cost: tokens were used, and there is no price for them."""


class _Counts:
    """Sums of one model."""

    __slots__ = (
        "cached_input",
        "cost",
        "input",
        "lines",
        "model",
        "output",
        "pricer",
        "reasoning",
        "written",
    )

    def __init__(self, model: str, price: Price | None) -> None:
        self.model, self.pricer = model, price.pricer if price else None
        self.lines = self.cost = 0
        self.input = self.cached_input = self.written = self.output = self.reasoning = 0


class Tally:
    """Holds 8 bytes for each line of a shard, and a few sums for each of its models."""

    def __init__(self, groups: array[int], models: Mapping[int, PricedModel]) -> None:
        """`groups`: of each line, in the shard's order; `models`: by group of the file."""
        self._groups = groups
        self._costs = array("q", bytes(8 * len(groups)))
        self._counts = {group: _Counts(model.name, model.price) for group, model in models.items()}

    def add(self, position: int, usage: Usage, *, answered: bool) -> None:
        """Count what an answer used, for a line that may have had others before.

        `answered`: it is the line's first.
        """
        self.add_answers((position,), (usage,))
        self._counts[self._groups[position]].lines -= not answered

    def add_answers(self, positions: Sequence[int], usages: Sequence[Usage]) -> None:
        """Count what the first answers of lines used."""
        groups, costs, by_group = self._groups, self._costs, self._counts
        for position, usage in zip(positions, usages, strict=True):
            counts = by_group[groups[position]]
            counts.lines += 1
            # Straight on, as this is done for each line.
            counts.input += usage.input
            counts.output += usage.output
            if cached := usage.cached_input:
                counts.cached_input += cached
            if written := usage.cache_write_5m + usage.cache_write_1h:
                counts.written += written
            if reasoning := usage.reasoning:
                counts.reasoning += reasoning
            pricer = counts.pricer
            if pricer is None:
                if usage != NO_USAGE:
                    costs[position] = UNPRICED
            elif cost := pricer(usage):
                costs[position] += cost
                counts.cost += cost

    def take_back(self, position: int, usage: Usage) -> None:
        """Uncount the one answer of a line: another is kept in its place."""
        counts = self._counts[self._groups[position]]
        counts.lines -= 1
        if self._costs[position] != UNPRICED:
            counts.cost -= self._costs[position]
        self._costs[position] = 0
        counts.input -= usage.input
        counts.output -= usage.output
        counts.cached_input -= usage.cached_input
        counts.written -= usage.cache_write_5m + usage.cache_write_1h
        counts.reasoning -= usage.reasoning

    def costs(self, first: int, count: int) -> list[int | None]:
        """Nano-dollars of `count` lines from a position on; None: unpriced."""
        return [None if cost == UNPRICED else cost for cost in self._costs[first : first + count]]

    def spend(self) -> list[ModelSpend]:
        """What was used, of each model that was answered."""
        unpriced = dict.fromkeys(self._counts, 0)
        for group, cost in zip(self._groups, self._costs, strict=True):
            if cost == UNPRICED:
                unpriced[group] += 1
        return [
            ModelSpend(
                model=counts.model,
                lines=counts.lines,
                unpriced_lines=unpriced[group],
                input_tokens=counts.input,
                cached_input_tokens=counts.cached_input,
                cache_write_tokens=counts.written,
                output_tokens=counts.output,
                reasoning_tokens=counts.reasoning,
                cost_nanos=counts.cost,
            )
            for group, counts in self._counts.items()
            if counts.lines or counts.cost or unpriced[group]
        ]

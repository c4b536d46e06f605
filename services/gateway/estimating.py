"""What a batch of a file will cost: tokens and money, as expected and at the most, by model.

In: a file's totals, what was learned of its models, prices. Out: an Estimate. What can go wrong:
the file is deleted meanwhile (BlobMissing), the store is away (BlobUnavailable).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from core.batchfile import LineSum
from core.blobs import BlobStore
from core.ledger import File, Ledger
from core.pipeline import Basis, LineEstimate, Reckoner
from core.pipeline.file_prices import Named
from core.prices.rates import Price, Processing, Unpriced
from core.prices.snapshot import Snapshot
from services.gateway.file_totals import FileTotals
from services.gateway.pricing import Pricing


@dataclass(frozen=True, slots=True)
class Bounds:
    """In nano-dollars. None: there is no price; `at_most` also where nothing limits a line."""

    expected: int | None = 0
    at_most: int | None = 0

    def plus(self, other: Bounds) -> Bounds:
        """Of both; None where one is."""
        return Bounds(_sum(self.expected, other.expected), _sum(self.at_most, other.at_most))

    def greater(self, other: Bounds) -> Bounds:
        """Of both; None where one is."""
        return Bounds(_most(self.expected, other.expected), _most(self.at_most, other.at_most))


@dataclass(frozen=True, slots=True)
class Range:
    """Tokens and cost of one model's lines, or of all."""

    prompt_expected: int = 0
    prompt_at_most: int = 0
    output_expected: int = 0
    output_at_most: int | None = 0
    cost: Bounds = Bounds()
    """As the batch will be run."""
    real_time: Bounds = Bounds()
    """The same lines as calls of their own."""
    dearest: Bounds = Bounds()
    """The greater of both, for lines that may come to be rescued; else `cost`."""

    def plus(self, other: Range) -> Range:
        """Of both."""
        return Range(
            self.prompt_expected + other.prompt_expected,
            self.prompt_at_most + other.prompt_at_most,
            self.output_expected + other.output_expected,
            _sum(self.output_at_most, other.output_at_most),
            self.cost.plus(other.cost),
            self.real_time.plus(other.real_time),
            self.dearest.plus(other.dearest),
        )


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """Of the lines of one model."""

    provider: str
    model: str
    """As the lines name it."""
    processing: Processing
    lines: int
    unlimited_lines: int
    """Lines of which nobody knows how long the answer, or the prompt, may be."""
    range: Range
    basis: Basis
    unpriced: Unpriced | None = None
    unknown: Unpriced | None = None
    """A price of `range.dearest` that nobody knows."""
    rescuable: bool = False
    """Its lines are run in batches, and can be called one by one."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a file."""

    models: Sequence[ModelEstimate]
    total: Range

    @property
    def lines(self) -> int:
        """Lines that will be sent."""
        return sum(each.lines for each in self.models)


class Estimator:
    """Estimates batches of checked files."""

    def __init__(
        self, ledger: Ledger, blobs: BlobStore, pricing: Pricing, *, assumed_output: int
    ) -> None:
        """`assumed_output`: tokens of an answer of which nothing is known."""
        self._ledger = ledger
        self._totals = FileTotals(ledger, blobs)
        self._pricing = pricing
        self._assumed_output = assumed_output

    async def of_file(
        self, account_id: str, file: File, prices: Snapshot, *, lenient: bool = False
    ) -> Estimate:
        """What a batch will cost by these prices: its own, and those of real time if they are
        among them. `dearest` counts those where lines can be called one by one. `lenient`: with
        the lines that only a lenient batch takes.
        """
        named = await self._pricing.named(file, lenient=lenient)
        reckoner = await Reckoner.load(
            self._ledger, account_id, named, assumed_output=self._assumed_output
        )
        sums = await self._totals.of(file)
        return await asyncio.to_thread(self._reckon, file, named, sums, reckoner, prices, lenient)

    async def prices_for(
        self, account_id: str, file: File, day: date, *, lenient: bool = False
    ) -> Snapshot:
        """The prices of a batch and those of real time."""
        return await self._pricing.of_file(account_id, file, day, lenient=lenient, real_time=True)

    def _reckon(
        self,
        file: File,
        named: Iterable[Named],
        sums: Sequence[LineSum],
        reckoner: Reckoner,
        prices: Snapshot,
        lenient: bool,
    ) -> Estimate:
        by_model: dict[tuple[str, str], list[LineSum]] = {}
        for each in sums:
            group = file.groups[each.group]
            if lenient or not each.lenient:
                by_model.setdefault((group["provider"], group["model"]), []).append(each)
        models = []
        for provider, model, remote in named:
            lines = by_model.get((provider, model), [])
            processing = self._pricing.how(provider)
            price = prices.price(provider, remote, processing)
            real_time = _real_time(prices, provider, remote)
            rescuable = self._pricing.can_rescue(provider, file.endpoint)
            dearest = (price, real_time if rescuable else None)
            found = [reckoner.sum(provider, model, each) for each in lines]
            models.append(
                ModelEstimate(
                    provider,
                    model,
                    processing,
                    lines=sum(each.lines for each in found),
                    unlimited_lines=_unlimited(found, price),
                    range=_range(found, price, real_time, rescuable=rescuable),
                    basis=reckoner.basis(provider, model),
                    unpriced=price if isinstance(price, Unpriced) else None,
                    unknown=next((each for each in dearest if isinstance(each, Unpriced)), None),
                    rescuable=rescuable,
                )
            )
        models.sort(key=lambda each: (-(each.range.cost.expected or 0), each.provider, each.model))
        total = Range()
        for estimate in models:
            total = total.plus(estimate.range)
        return Estimate(models, total)


def _real_time(prices: Snapshot, provider: str, remote: str) -> Price | Unpriced | None:
    """None: it was not asked for."""
    try:
        return prices.price(provider, remote, Processing.REAL_TIME)
    except KeyError:
        return None


def _range(
    found: Sequence[LineEstimate],
    price: Price | Unpriced,
    real_time: Price | Unpriced | None,
    *,
    rescuable: bool,
) -> Range:
    output: int | None = 0
    for each in found:
        output = _sum(output, each.output_at_most)
    cost, called = _bounds(found, price), _bounds(found, real_time, rescued=rescuable)
    return Range(
        prompt_expected=sum(each.prompt_expected for each in found),
        prompt_at_most=sum(each.prompt_at_most for each in found),
        output_expected=sum(each.output_expected for each in found),
        output_at_most=output,
        cost=cost,
        real_time=called,
        dearest=cost.greater(called) if rescuable and real_time is not None else cost,
    )


def _unlimited(found: Sequence[LineEstimate], price: Price | Unpriced) -> int:
    known = price if isinstance(price, Price) else None
    return sum(each.lines for each in found if Reckoner.is_open(each, known))


def _bounds(
    found: Sequence[LineEstimate], price: Price | Unpriced | None, *, rescued: bool = False
) -> Bounds:
    if not isinstance(price, Price):
        return Bounds(None, None)
    total = Bounds()
    for each in found:
        total = total.plus(Bounds(*Reckoner.cost(price, each, rescued=rescued)))
    return total


def _most(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other

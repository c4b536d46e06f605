"""The price of a model, taken apart into integers once; pricing a line is arithmetic on them.

The unit of all rates is nano-dollars (10^-9 USD) for a million of what is counted, which is
whole for every published price (0.0025 USD a million tokens are 2,500,000). A line's cost is
the sum of counts times rates, divided by a million once and rounded to a nano-dollar, a half
up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias

import msgspec

from core.prices.usage import Usage

STATED = "prices file"
"""Where rates come from that an operator has stated."""
NANO = 10**9
MILLION = 10**6
_HALF = MILLION // 2
_NO_LIMIT = 2**63


class Processing(StrEnum):
    """How a request is run, which decides its rates."""

    BATCH = "batch"
    REAL_TIME = "real_time"


class Rates(msgspec.Struct, frozen=True):
    """What each kind costs, in nano-dollars a million; None: no rate of its own."""

    input: int | None = None
    cached_input: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    cached_audio_input: int | None = None
    cached_image_input: int | None = None
    web_searches: int | None = None

    def resolved(self) -> Rates:
        """The same with a rate for every kind: no token is free for want of a rate of its own.

        A part that has none costs as the whole that it is a part of; a cache write of the long
        lifetime as one of the short. An answer without a rate (embeddings have none) would cost
        as a prompt. Searches without a rate are free: not every provider sells them.
        """
        whole = self.input or 0
        answer = _first(self.output, whole)
        cached = _first(self.cached_input, whole)
        short = _first(self.cache_write_5m, whole)
        audio = _first(self.audio_input, whole)
        image = _first(self.image_input, whole)
        return Rates(
            input=whole,
            cached_input=cached,
            cache_write_5m=short,
            cache_write_1h=_first(self.cache_write_1h, short),
            output=answer,
            reasoning=_first(self.reasoning, answer),
            audio_input=audio,
            audio_output=_first(self.audio_output, answer),
            image_input=image,
            image_output=_first(self.image_output, answer),
            cached_audio_input=_first(self.cached_audio_input, self.cached_input, audio),
            cached_image_input=_first(self.cached_image_input, self.cached_input, image),
            web_searches=self.web_searches or 0,
        )


KINDS = Rates.__struct_fields__


class Band(msgspec.Struct, frozen=True):
    """Rates of prompts over a length; they hold for all tokens of such a request."""

    above: int
    """Prompt tokens. A prompt of just as many is in the band below. The lowest band: -1."""
    rates: Rates
    """Resolved, so that a snapshot does not depend on how a later release resolves them."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where some rates of a price come from."""

    source: str
    """"prices file", "genai-prices 0.2.3" or "polybatch"."""
    kinds: tuple[str, ...]
    """The rates that come from it: names of the fields of Rates."""
    processing: Processing
    """Whose rates they are. Those of a batch's price may be real-time rates, where the
    provider publishes no other."""
    since: date | None = None
    """From when on they hold; None: not known."""
    where: str = ""
    """The provider's page, or the place in the prices file."""
    note: str = ""


class Price(msgspec.Struct, frozen=True, kw_only=True, dict=True, tag="priced"):
    """What a model costs in one way of processing, as of a day."""

    provider: str
    model: str
    processing: Processing
    day: date
    bands: tuple[Band, ...]
    """By rising `above`."""
    origins: tuple[Origin, ...]
    markup: str = "1"
    """The factor that is in the rates already, as a decimal number."""
    us_percent: int = 0
    """What tokens cost more where inference is bound to the US."""
    not_reckoned: tuple[str, ...] = ()
    """What the provider charges besides and no usage tells, such as "storage_searches_kcount"."""

    def cost(self, usage: Usage) -> int:
        """Nano-dollars of one line, rounded to the nearest, a half up."""
        return self.pricer(usage)

    @cached_property
    def pricer(self) -> Callable[[Usage], int]:
        """What `cost` does, for whoever prices many lines: its rates are at hand."""
        if not self.us_percent:
            return self._anywhere
        anywhere, in_us = self._anywhere, self.in_us.pricer
        return lambda usage: in_us(usage) if usage.us_inference else anywhere(usage)

    @cached_property
    def in_us(self) -> Price:
        """What it costs where inference is bound to the US. Searches cost the same."""
        factor = 1 + Decimal(self.us_percent) / 100
        return msgspec.structs.replace(
            self,
            bands=tuple(Band(band.above, _dearer(band.rates, factor)) for band in self.bands),
            us_percent=0,
        )

    @cached_property
    def _anywhere(self) -> Callable[[Usage], int]:
        limit, longer = _NO_LIMIT, None
        # From the longest prompts down: each band hands on to the one above it.
        for step in self._steps:
            limit, longer = step[0], _pricer(step, limit, longer)
        assert longer is not None, "a price has a band at least"
        return longer

    def rates_of(self, prompt_tokens: int) -> Rates:
        """The rates of requests with a prompt of this length."""
        return next(band.rates for band in reversed(self.bands) if prompt_tokens > band.above)

    @cached_property
    def _steps(self) -> tuple[_Step, ...]:
        """By falling `above`."""
        return tuple((band.above, *_factors(band.rates)) for band in reversed(self.bands))

    @property
    def is_stated(self) -> bool:
        """Whether the operator's prices file has the rates of its prompts and answers."""
        return any(
            each.source == STATED and {"input", "output"}.issubset(each.kinds)
            for each in self.origins
        )

    def marked_up(self, factor: Decimal) -> Price:
        """The same with all rates times a factor, each rounded to a nano-dollar a million."""
        if factor == 1:
            return self
        return msgspec.structs.replace(
            self,
            bands=tuple(Band(band.above, scaled(band.rates, factor)) for band in self.bands),
            markup=f"{(Decimal(self.markup) * factor).normalize():f}",
        )


class Unpriced(msgspec.Struct, frozen=True, kw_only=True, tag="unpriced"):
    """A model whose price is not known: never a price of 0."""

    provider: str
    model: str
    processing: Processing
    day: date
    reason: str

    @property
    def message(self) -> str:
        """What is wrong and how to mend it, for people."""
        how = "in batches" if self.processing is Processing.BATCH else "in real time"
        return (
            f"{self.provider} {self.model} has no price {how}: {self.reason}. To price it, add to "
            f'prices.toml: [[price]] with provider = "{self.provider}", model = "{self.model}", '
            f'processing = "{self.processing}" and input and output in USD a million tokens'
        )


Steps = tuple[tuple[int, int], ...]
"""A rate by rising length of the prompt: (above, rate), the first above -1."""


def bands(card: Mapping[str, Steps]) -> tuple[Band, ...]:
    """The bands of rates that change at lengths of their own. `card`: by name of the kind."""
    starts = sorted({above for steps in card.values() for above, _ in steps} | {-1})
    return tuple(
        Band(start, Rates(**{kind: _at(steps, start) for kind, steps in card.items()}).resolved())
        for start in starts
    )


def nano(usd: Decimal, count: int = MILLION) -> int:
    """Nano-dollars a million from USD for a count, such as 0.15 for 1,000,000 tokens."""
    exact = usd * NANO * MILLION / count
    return int(exact.to_integral_value(ROUND_HALF_UP))


def scaled(rates: Rates, factor: Decimal) -> Rates:
    """Rates times a factor."""
    return Rates(**{kind: _times(getattr(rates, kind), factor) for kind in KINDS})


def _dearer(rates: Rates, factor: Decimal) -> Rates:
    return msgspec.structs.replace(scaled(rates, factor), web_searches=rates.web_searches)


def _times(rate: int | None, factor: Decimal) -> int | None:
    if rate is None:
        return None
    return int((rate * factor).to_integral_value(ROUND_HALF_UP))


def _at(steps: Steps, start: int) -> int:
    return max(step for step in steps if step[0] <= start)[1]


def _first(*rates: int | None) -> int:
    return next(rate for rate in rates if rate is not None)


_Step: TypeAlias = tuple[int, int, int, int, int, int, int, tuple[tuple[str, int], ...]]
"""Of a band: `above`; what a token of the prompt and of the answer costs; what a token read from
a cache, of a short write, of a long one and of the thoughts costs more (or less) than that;
and the same of the rarer parts that have a price of their own, by name."""


def _pricer(
    step: _Step, limit: int, longer: Callable[[Usage], int] | None
) -> Callable[[Usage], int]:
    """Prices requests by one band; those of prompts over the limit by `longer`."""
    _, whole, answer, cached, short, long, reasoning, rest = step

    def cost(usage: Usage) -> int:
        prompt = usage.input
        if prompt > limit and longer is not None:
            return longer(usage)
        total = prompt * whole + usage.output * answer + _HALF
        # Most lines have none or few of them: what is 0 is not multiplied.
        if count := usage.cached_input:
            total += count * cached
        if count := usage.cache_write_5m:
            total += count * short
        if count := usage.cache_write_1h:
            total += count * long
        if reasoning and (count := usage.reasoning):
            total += count * reasoning
        for name, factor in rest:
            if count := getattr(usage, name):
                total += count * factor
        return total // MILLION

    return cost


def _factors(rates: Rates) -> tuple[int, int, int, int, int, int, tuple[tuple[str, int], ...]]:
    given: Mapping[str, int] = msgspec.structs.asdict(rates)
    whole, answer, cached = given["input"], given["output"], given["cached_input"]
    audio, image = given["audio_input"], given["image_input"]
    rare = {
        "audio_input": audio - whole,
        "audio_output": given["audio_output"] - answer,
        "image_input": image - whole,
        "image_output": given["image_output"] - answer,
        # Of two parts: what was taken off or put on for both is mended.
        "cached_audio_input": given["cached_audio_input"] - audio - cached + whole,
        "cached_image_input": given["cached_image_input"] - image - cached + whole,
        "web_searches": given["web_searches"],
    }
    return (
        whole,
        answer,
        cached - whole,
        given["cache_write_5m"] - whole,
        given["cache_write_1h"] - whole,
        given["reasoning"] - answer,
        tuple((name, factor) for name, factor in rare.items() if factor),
    )

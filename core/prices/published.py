"""Published prices, from genai-prices: the one module that imports it.

Nothing is fetched: the prices are those of the locked release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

import genai_prices
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from core.prices.rates import Steps, nano

SOURCE = f"genai-prices {genai_prices.__version__}"

_NAMES = {"gemini": "google", "xai": "x-ai"}
"""Our name of a provider to theirs; the others are alike."""

_BATCH = {"processing": "batch"}

# Their name of a price to ours, and for how many it is. cache_write is the short lifetime's,
# "30-minute retention" at OpenAI (its price_comments) and 5 minutes at Anthropic.
_KINDS = {
    "input_mtok": ("input", 1_000_000),
    "cache_read_mtok": ("cached_input", 1_000_000),
    "cache_write_mtok": ("cache_write_5m", 1_000_000),
    "cache_write_5m_mtok": ("cache_write_5m", 1_000_000),
    "cache_write_1h_mtok": ("cache_write_1h", 1_000_000),
    "output_mtok": ("output", 1_000_000),
    "output_reasoning_mtok": ("reasoning", 1_000_000),
    "input_audio_mtok": ("audio_input", 1_000_000),
    "output_audio_mtok": ("audio_output", 1_000_000),
    "input_image_mtok": ("image_input", 1_000_000),
    "output_image_mtok": ("image_output", 1_000_000),
    "cache_audio_read_mtok": ("cached_audio_input", 1_000_000),
    "cache_image_read_mtok": ("cached_image_input", 1_000_000),
    "web_searches_kcount": ("web_searches", 1_000),
}
# Gemini bills searches by the query or by the prompt, after what is free, and no usage tells them.
_UNTOLD = {"google": frozenset({"web_searches_kcount"})}
_EVERY_REQUEST = "requests_kcount"


@dataclass(frozen=True, slots=True)
class Found:
    """What is published of a model in one way of processing. `card` may be empty."""

    card: Mapping[str, Steps]
    since: date | None
    where: str
    note: str = ""
    not_reckoned: tuple[str, ...] = ()
    lacks: str = ""
    """Why the card is empty."""
    source: str = SOURCE


def real_time(provider: str, model: str, day: date) -> Found:
    """The standard rates of a day (UTC)."""
    offered = _provider(provider)
    info = offered.find_model(model) if offered else None
    if offered is None or info is None:
        return _nothing(f"{SOURCE} does not know the {'model' if offered else 'provider'}")
    prices, since, hourly = _standard(info, day)
    if hourly:
        return _nothing("its price changes with the hour of the day")
    if _EVERY_REQUEST in _stated(prices):
        return _nothing("there is a charge for each request besides its tokens")
    reckoned = _reckoned(offered)
    card = _card(prices, reckoned)
    if "input" not in card:
        return _nothing(f"{SOURCE} has no price by the token for it")
    others = tuple(sorted(_stated(prices).keys() - reckoned.keys()))
    return Found(card, since, _page(offered), not_reckoned=others)


def batch(provider: str, model: str, day: date) -> Found:
    """The batch rates of a day (UTC): only those that are published as such.

    A model without any is priced at the real-time rate by the library without a word, as is a
    day before it began to record batch rates; neither is a batch rate.
    """
    offered = _provider(provider)
    info = offered.find_model(model) if offered else None
    if offered is None or info is None:
        return _nothing(f"{SOURCE} does not know the {'model' if offered else 'provider'}")
    variants = [each for each in info.price_variants or () if each.when == _BATCH]
    if not variants:
        return _nothing(f"{SOURCE} has no batch rate for it")
    active = [each for each in variants if _active(each.constraint, day)]
    note = ""
    if not active:
        first = min(_start(each) for each in variants)
        if _standard(info, day)[0] != _standard(info, first)[0]:
            return _nothing(f"its batch rate is known from {first} on, and its price has changed")
        note = f"recorded on {first}; the real-time price was the same on {day}"
        active = [each for each in variants if _active(each.constraint, first)]
    # As the library does: the first variant that has a price wins, price by price.
    merged: dict[str, Decimal | TieredPrices] = {}
    for each in active:
        for name, price in _stated(each.prices).items():
            merged.setdefault(name, price)
    since = None if note else max((_start(each) for each in active), default=date.min)
    return Found(
        _card(merged, _reckoned(offered)),
        since if since != date.min else None,
        _page(offered),
        note=note,
    )


def _nothing(reason: str) -> Found:
    return Found({}, None, "", lacks=reason)


def _provider(name: str) -> Provider | None:
    theirs = _NAMES.get(name, name)
    # Only by its own id: what merely looks alike is another provider with other prices.
    return next((each for each in _providers() if each.id == theirs), None)


def _providers() -> Sequence[Provider]:
    """All of them: five megabytes that only who looks for a price has in memory, after 20 ms."""
    from genai_prices.data import providers

    return providers


def _page(provider: Provider) -> str:
    return (provider.pricing_urls or [""])[0]


def _moment(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def _active(constraint: StartDateConstraint | TimeOfDateConstraint | None, day: date) -> bool:
    return constraint is None or constraint.active(_moment(day))


def _start(variant: PriceVariant) -> date:
    constraint = variant.constraint
    return constraint.start_date if isinstance(constraint, StartDateConstraint) else date.min


def _standard(info: ModelInfo, day: date) -> tuple[ModelPrice, date | None, bool]:
    """The real-time price, its first day if that is known, and whether it changes by the hour."""
    if isinstance(info.prices, ModelPrice):
        return info.prices, None, False
    constraints = [each.constraint for each in info.prices]
    if any(isinstance(each, TimeOfDateConstraint) for each in constraints):
        return info.prices[0].prices, None, True
    for each in reversed(info.prices):
        if _active(each.constraint, day):
            start = each.constraint
            since = start.start_date if isinstance(start, StartDateConstraint) else None
            return each.prices, since, False
    return info.prices[0].prices, None, False


def _stated(prices: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    return {
        name: price
        for name, price in vars(prices).items()
        if not name.startswith("_") and isinstance(price, Decimal | TieredPrices)
    }


def _reckoned(provider: Provider) -> dict[str, tuple[str, int]]:
    """As _KINDS, of what the provider's usage tells."""
    untold = _UNTOLD.get(provider.id, frozenset())
    return {name: kind for name, kind in _KINDS.items() if name not in untold}


def _card(
    prices: ModelPrice | Mapping[str, Decimal | TieredPrices],
    reckoned: Mapping[str, tuple[str, int]],
) -> dict[str, Steps]:
    stated = _stated(prices) if isinstance(prices, ModelPrice) else prices
    return {
        kind: _steps(stated[name], count)
        for name, (kind, count) in reckoned.items()
        if name in stated
    }


def _steps(price: Decimal | TieredPrices, count: int) -> Steps:
    if isinstance(price, Decimal):
        return ((-1, nano(price, count)),)
    # The tier that the whole prompt falls in prices all of it: more tokens than its start.
    tiers: Iterable[tuple[int, int]] = ((t.start, nano(t.price, count)) for t in price.tiers)
    return ((-1, nano(price.base, count)), *tiers)

"""What a model costs on a day, put together from all sources, and since when.

In this order, rate by rate: the operator's prices file; what genai-prices has published; our own
published.toml, for what it lacks. A batch's rates that nobody publishes apart, such as cached
input at Gemini, stay at the real-time rate ("Same as Standard"), if only there is a batch rate
for input and output: else the model is unpriced in batches. Nothing is ever halved here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files

import msgspec

from core.prices import published
from core.prices.price_file import Entry, PriceFile, parse_price_file
from core.prices.rates import (
    STATED,
    Band,
    Origin,
    Price,
    Processing,
    Steps,
    Unpriced,
    bands,
    scaled,
)
from core.prices.snapshot import Snapshot

_NEEDED = frozenset({"input", "output"})
# "1.1x on all token pricing categories" (platform.claude.com, pricing, data residency); models
# from before Opus 4.6 refuse to be bound.
_US_PERCENT = {"anthropic": 10}

Asked = tuple[str, str, Processing]
"""Provider, its id of the model, and how it is run."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Rates of one source, weaker than those of the layers before."""

    card: Mapping[str, Steps]
    source: str
    processing: Processing
    since: date | None
    where: str
    note: str


class PriceTable:
    """The prices that hold, by provider, model, day and processing."""

    def __init__(self, prices: PriceFile | None = None, name: str = "prices.toml") -> None:
        """`prices`: the operator's file, if there is one; `name` is what origins call it."""
        self._file = prices or PriceFile()
        self._name = name
        self._remembered = lru_cache(maxsize=4096)(self._find)

    def find(
        self, provider: str, model: str, processing: Processing, day: date
    ) -> Price | Unpriced:
        """The price of a model (the provider's id) on a day (UTC), without a mark-up."""
        return self._remembered(provider, model, processing, day)

    def models(self, provider: str) -> list[str]:
        """Names and patterns of a provider's models in the operator's file."""
        return self._file.models_of(provider)

    def snapshot(self, asked: Iterable[Asked], day: date, account: str = "") -> Snapshot:
        """What holds for all of `asked` on a day, with the account's mark-up in the rates."""
        factor = self._file.markup_of(account)
        found = (self.find(provider, model, how, day) for provider, model, how in asked)
        return Snapshot(
            day=day,
            prices=tuple(
                each.marked_up(factor) if isinstance(each, Price) else each for each in found
            ),
        )

    def _find(
        self, provider: str, model: str, processing: Processing, day: date
    ) -> Price | Unpriced:
        entry = self._file.entry(provider, model, processing, day)
        own = [self._stated(entry, processing)] if entry and entry.times is None else []
        whose = self._file.like.get(provider, provider)
        layers, others, lacks = _published(whose, model, processing, day)
        found = _put_together([*own, *layers], processing)
        if found is None:
            return Unpriced(
                provider=provider, model=model, processing=processing, day=day, reason=lacks
            )
        steps, origins = found
        price = Price(
            provider=provider,
            model=model,
            processing=processing,
            day=day,
            bands=steps,
            origins=origins,
            us_percent=_US_PERCENT.get(whose, 0),
            not_reckoned=others,
        )
        return self._times(price, entry) if entry and entry.times is not None else price

    def _stated(self, entry: Entry, processing: Processing) -> _Layer:
        return _Layer(entry.card(), STATED, processing, entry.since, self._place(entry), entry.note)

    def _place(self, entry: Entry) -> str:
        return f"{self._name}, line {entry.line}"

    def _times(self, price: Price, entry: Entry) -> Price:
        factor = entry.times or Decimal(1)
        mine = Origin(
            source=STATED,
            kinds=(),
            processing=price.processing,
            since=entry.since,
            where=self._place(entry),
            note="; ".join(filter(None, (f"all rates times {factor}", entry.note))),
        )
        return msgspec.structs.replace(
            price,
            bands=tuple(Band(band.above, scaled(band.rates, factor)) for band in price.bands),
            origins=(mine, *price.origins),
        )


def _published(
    provider: str, model: str, processing: Processing, day: date
) -> tuple[list[_Layer], tuple[str, ...], str]:
    """The layers of what is published, what is not reckoned, and why there is no price."""
    standard = published.real_time(provider, model, day)
    asked = standard
    layers = []
    if processing is Processing.BATCH:
        asked = published.batch(provider, model, day)
        layers += [_theirs(asked, Processing.BATCH), *_ours(provider, model, Processing.BATCH, day)]
    layers.append(_theirs(standard, Processing.REAL_TIME))
    layers += _ours(provider, model, Processing.REAL_TIME, day)
    lacks = asked.lacks or "there is no rate for both its input and its output"
    return layers, standard.not_reckoned, lacks


def _theirs(found: published.Found, processing: Processing) -> _Layer:
    return _Layer(found.card, found.source, processing, found.since, found.where, found.note)


def _ours(provider: str, model: str, processing: Processing, day: date) -> Iterator[_Layer]:
    entry = own_list().entry(provider, model, processing, day)
    if entry is not None:
        yield _Layer(entry.card(), "polybatch", processing, entry.since, entry.source, entry.note)


@cache
def own_list() -> PriceFile:
    """published.toml: what genai-prices lacks, each with its source."""
    text = files("core.prices").joinpath("published.toml").read_text(encoding="utf-8")
    return parse_price_file(text, "published.toml")


def _put_together(
    layers: Iterable[_Layer], processing: Processing
) -> tuple[tuple[Band, ...], tuple[Origin, ...]] | None:
    """The rates of all layers, the first that has one winning; None: the input, or an answer that
    is not free, has no rate of this processing."""
    card: dict[str, Steps] = {}
    origins: list[Origin] = []
    for layer in layers:
        new = {kind: steps for kind, steps in layer.card.items() if kind not in card}
        if not new:
            continue
        if layer.processing is not processing and not _NEEDED.isdisjoint(new):
            return None
        card |= new
        origins.append(
            Origin(
                source=layer.source,
                kinds=tuple(sorted(new)),
                processing=layer.processing,
                since=layer.since,
                where=layer.where,
                note=layer.note,
            )
        )
    return (bands(card), tuple(origins)) if "input" in card else None

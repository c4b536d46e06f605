"""PriceService of polybatch.v1: what models cost the caller, where that comes from, since when."""

from __future__ import annotations

from datetime import UTC, date
from typing import Any

import grpc
import msgspec
from google.type.date_pb2 import Date  # type: ignore[import-untyped]
from polybatch.v1 import prices_pb2, prices_pb2_grpc

from core.ledger import now
from core.pipeline import outages
from core.pipeline.messages import money
from core.prices.rates import Band, Origin, Price, Processing, Unpriced
from core.serving import ApiError, current_principal
from services.gateway.batch_args import invalid_fields
from services.gateway.pricing import Pricing

Context = grpc.aio.ServicerContext[Any, Any]

_MAX_MODEL = 512
PROCESSING = {
    Processing.BATCH: prices_pb2.PROCESSING_BATCH,
    Processing.REAL_TIME: prices_pb2.PROCESSING_REAL_TIME,
}


class PriceServicer(prices_pb2_grpc.PriceServiceServicer):
    """Answers as the comments in prices.proto say."""

    def __init__(self, pricing: Pricing) -> None:
        self._pricing = pricing

    async def ListPrices(
        self, request: prices_pb2.ListPricesRequest, _context: Context
    ) -> prices_pb2.ListPricesResponse:
        account_id = current_principal().account_id
        day = _day(request)
        if len(request.model) > _MAX_MODEL:
            raise invalid_fields([("model", f"at most {_MAX_MODEL} characters")])
        with outages():
            if not request.model:
                found = await self._pricing.of_all(account_id, day)
            else:
                found = await self._pricing.of_model(account_id, request.model, day)
                if not found.prices:
                    raise ApiError.not_found(
                        "MODEL_NOT_FOUND",
                        f"no provider is known to have {request.model!r}: name one, as in "
                        f'"openai/{request.model}"',
                    )
        return prices_pb2.ListPricesResponse(prices=[_shown(each) for each in found.prices])


def _day(request: prices_pb2.ListPricesRequest) -> date:
    if not request.HasField("day"):
        return now().astimezone(UTC).date()
    try:
        return date(request.day.year, request.day.month, request.day.day)
    except ValueError:
        raise invalid_fields([("day", "a whole date, such as 2026-11-28")]) from None


def _shown(price: Price | Unpriced) -> prices_pb2.Price:
    shown = prices_pb2.Price(
        provider=price.provider,
        model=price.model,
        processing=PROCESSING[price.processing],
        day=_date(price.day),
    )
    if isinstance(price, Unpriced):
        shown.unpriced = price.reason
        return shown
    # The others are derived: a part without a rate of its own costs as its whole.
    own = {kind for origin in price.origins for kind in origin.kinds}
    shown.bands.extend(_band(band, own) for band in price.bands)
    shown.origins.extend(map(_origin, price.origins))
    shown.markup = price.markup
    shown.not_reckoned.extend(price.not_reckoned)
    return shown


def _band(band: Band, kinds: set[str]) -> prices_pb2.PriceBand:
    rates: dict[str, int] = msgspec.structs.asdict(band.rates)
    return prices_pb2.PriceBand(
        above_prompt_tokens=band.above if band.above >= 0 else None,
        per_million={kind: money(rates[kind]) for kind in sorted(kinds)},
    )


def _origin(origin: Origin) -> prices_pb2.PriceOrigin:
    return prices_pb2.PriceOrigin(
        source=origin.source,
        kinds=origin.kinds,
        processing=PROCESSING[origin.processing],
        since=_date(origin.since) if origin.since else None,
        where=origin.where,
        note=origin.note,
    )


def _date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)

"""Prices as the gateway lists them."""

from __future__ import annotations

from polybatch.v1 import prices_pb2


def priced(model: str) -> prices_pb2.Price:
    """1.25, 0.125 and 7.50 USD; over 272,000 prompt tokens 2.50, 0.25 and 11."""
    price = prices_pb2.Price(
        provider="openai",
        model=model,
        processing=prices_pb2.PROCESSING_BATCH,
        markup="1.15",
        not_reckoned=["storage"],
    )
    price.day.year, price.day.month, price.day.day = 2026, 3, 6
    for above, rates in (
        (None, {"input": (1, 25), "cached_input": (0, 12.5), "output": (7, 50)}),
        (272_000, {"input": (2, 50), "cached_input": (0, 25), "output": (11, 0)}),
    ):
        band = price.bands.add(above_prompt_tokens=above)
        for kind, (units, cents) in (rates | {"web_searches": (10_000, 0)}).items():
            money = band.per_million[kind]
            money.currency_code, money.units, money.nanos = "USD", units, int(cents * 10**7)
    for kinds, how in (
        (["input", "output"], prices_pb2.PROCESSING_BATCH),
        (["web_searches"], prices_pb2.PROCESSING_REAL_TIME),
    ):
        origin = price.origins.add(
            source="genai-prices 0.2.3", kinds=kinds, processing=how, where="https://example.com"
        )
        if how == prices_pb2.PROCESSING_BATCH:
            origin.since.year, origin.since.month, origin.since.day = 2026, 3, 5
    return price


def unpriced(model: str) -> prices_pb2.Price:
    price = prices_pb2.Price(
        provider="openai",
        model=model,
        processing=prices_pb2.PROCESSING_REAL_TIME,
        unpriced="nobody knows",
    )
    price.day.year, price.day.month, price.day.day = 2026, 3, 6
    return price

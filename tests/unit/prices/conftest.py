"""Prices as of one day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from core.prices.price_file import parse_price_file
from core.prices.rates import Price, Processing, Unpriced
from core.prices.table import PriceTable

DAY = date(2026, 11, 28)


@pytest.fixture
def priced() -> Callable[..., Price]:
    """The price of a model that has one: priced(provider, model, processing="batch", file="")."""

    def find(
        provider: str, model: str, processing: str = "batch", *, day: date = DAY, file: str = ""
    ) -> Price:
        table = PriceTable(parse_price_file(file, "prices.toml"))
        found = table.find(provider, model, Processing(processing), day)
        assert isinstance(found, Price), found.message
        return found

    return find


@pytest.fixture
def unpriced() -> Callable[..., Unpriced]:
    """The same of a model that has none."""

    def find(
        provider: str, model: str, processing: str = "batch", *, day: date = DAY, file: str = ""
    ) -> Unpriced:
        table = PriceTable(parse_price_file(file, "prices.toml"))
        found = table.find(provider, model, Processing(processing), day)
        assert isinstance(found, Unpriced), found.bands
        return found

    return find

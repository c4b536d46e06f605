"""Prices in both clients: exact numbers, and what is not known left open."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from polybatch import NotFound, Price, Processing

from tests.integration.client.conftest import Api
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import NOT_FOUND, Fault
from tests.support.client.prices import priced, unpriced


async def test_prices_are_decimals_and_days(api: Api, fake: FakePolybatch) -> None:
    fake.prices = [priced("gpt-5.4"), unpriced("ft:gpt")]
    fake.prices[0].bands[0].per_million["input"].nanos = 1
    known, unknown = await api.call("prices")
    assert isinstance(known, Price)
    first, long = known.bands
    assert (first.above_prompt_tokens, long.above_prompt_tokens) == (None, 272_000)
    assert first.per_million["input"] == Decimal("1.000000001")
    assert (known.processing, known.day) == (Processing.BATCH, date(2026, 3, 6))
    assert [each.since for each in known.origins] == [date(2026, 3, 5), None]
    assert known.markup == Decimal("1.15")
    assert (unknown.unpriced, unknown.bands, unknown.markup) == ("nobody knows", (), 1)


async def test_a_model_and_a_day_are_asked_for(api: Api, fake: FakePolybatch) -> None:
    fake.prices = [priced("gpt-5.4"), unpriced("ft:gpt")]
    (found,) = await api.call("prices", "gpt-5.4", day=date(2025, 12, 31))
    assert found.model == "gpt-5.4"
    asked = fake.calls[-1][1]
    assert asked.model == "gpt-5.4"
    assert (asked.day.year, asked.day.month, asked.day.day) == (2025, 12, 31)
    fake.faults["ListPrices"].append(Fault(NOT_FOUND, reason="MODEL_NOT_FOUND"))
    with pytest.raises(NotFound, match="polybatch prices"):
        await api.call("prices", "m")

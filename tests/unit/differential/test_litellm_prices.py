"""Our prices beside litellm's price map, for every model of the catalogue that both know."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core.prices.rates import Price, Processing, Rates, nano
from core.prices.table import PriceTable
from tests.unit.differential.explained_prices import EXPLAINED, Difference

DAY = date(2026, 11, 28)
CATALOGUE: dict[str, list[dict[str, Any]]] = tomllib.loads(
    files("core.providers").joinpath("models.toml").read_text(encoding="utf-8")
)
PREFIXES = {"openai": "", "anthropic": "", "gemini": "gemini/"}

KINDS = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_1h",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "cache_read_input_audio_token_cost": "cached_audio_input",
    "cache_read_input_image_token_cost": "cached_image_input",
}
_KEY = re.compile(r"(?P<kind>.+?)(_above_(?P<above>\d+)k_tokens)?(?P<batch>_batches)?")

Rate = tuple[Processing, int, str]
"""How it is run, over how many prompt tokens (-1: any), the kind."""


@pytest.fixture(scope="module")
def price_map() -> dict[str, dict[str, Any]]:
    """Read from its file: importing litellm takes seconds. Exact, as decimals."""
    found = find_spec("litellm")
    if found is None or found.origin is None:
        pytest.skip("make differential installs litellm")
    path = Path(found.origin).with_name("model_prices_and_context_window_backup.json")
    models: dict[str, dict[str, Any]] = json.loads(path.read_bytes(), parse_float=Decimal)
    return models


def stated(entry: dict[str, Any]) -> dict[Rate, int]:
    """Nano-dollars a million tokens of an entry of the map."""
    rates = {}
    for key, usd in entry.items():
        parts = _KEY.fullmatch(key)
        if parts is None or parts["kind"] not in KINDS or usd is None:
            continue
        how = Processing.BATCH if parts["batch"] else Processing.REAL_TIME
        above = int(parts["above"]) * 1000 if parts["above"] else -1
        rates[how, above, KINDS[parts["kind"]]] = nano(Decimal(usd), 1)
    return rates


def ours(price: Price, above: int) -> Rates:
    """The rates of prompts just over a length."""
    return next(band.rates for band in reversed(price.bands) if band.above <= above)


def differences(price_map: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Rate, str, str]]:
    """Model, rate, what we have and what litellm has, in USD a million."""
    table = PriceTable()
    for provider, prefix in PREFIXES.items():
        for model in (each["id"] for each in CATALOGUE[provider]):
            entry = price_map.get(prefix + model)
            if entry is None:
                continue
            theirs = stated(entry)
            prices = {
                how: price
                for how in Processing
                if isinstance(price := table.find(provider, model, how, DAY), Price)
            }
            for rate, value in theirs.items():
                how, above, kind = rate
                mine = getattr(ours(prices[how], above), kind) if how in prices else None
                if mine != value:
                    yield model, rate, usd(mine), usd(value)
            # What litellm lacks: told by the input's rate, of each length of prompts.
            for how, price in prices.items():
                for band in price.bands:
                    if (how, band.above, "input") not in theirs:
                        yield model, (how, band.above, "input"), usd(band.rates.input), "none"


def usd(rate: int | None) -> str:
    return "none" if rate is None else f"{(Decimal(rate) / 10**9).normalize():f}"


def test_every_difference_is_explained(price_map: dict[str, dict[str, Any]]) -> None:
    used: set[Difference] = set()
    unexplained: list[tuple[object, ...]] = []
    for model, (how, above, kind), mine, theirs in differences(price_map):
        found = next(
            (each for each in EXPLAINED if each.matches(model, how, above, kind, mine, theirs)),
            None,
        )
        if found is None:
            unexplained.append((model, str(how), above, kind, mine, theirs))
        else:
            used.add(found)
    assert unexplained == []
    stale = [each for each in EXPLAINED if each not in used]
    assert stale == [], "these differences are gone"


def test_most_of_the_catalogue_is_compared(price_map: dict[str, dict[str, Any]]) -> None:
    known = [
        each["id"]
        for provider, prefix in PREFIXES.items()
        for each in CATALOGUE[provider]
        if prefix + each["id"] in price_map
    ]
    assert len(known) > 100

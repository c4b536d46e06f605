"""Usages as providers report them, priced: each sum in the corpus can be followed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from core.prices.rates import Price, Processing
from core.prices.table import PriceTable
from core.prices.usage import Usage
from core.providers.anthropic import usage as anthropic
from core.providers.gemini import usage as gemini
from core.providers.openai import usage as openai

CORPUS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("corpus.json").read_bytes())[
    "prices"
]
DAY = date(2026, 11, 28)
READERS: dict[str, Callable[[bytes], Usage]] = {
    "openai": openai.read_usage,
    "anthropic": anthropic.read_usage,
    "gemini": gemini.read_usage,
}


def by_hand(terms: str) -> int:
    """Nano-dollars of a sum such as "700 * 1.25 + 100 * 10", in millionths of a dollar."""
    total = Decimal(0)
    for term in terms.split(" + "):
        product = Decimal(1)
        for factor in term.split(" * "):
            product *= Decimal(factor)
        total += product
    return int((total * 1000).to_integral_value(ROUND_HALF_UP))


def rates_of(priced: dict[str, Any], terms: str) -> bool:
    """Whether a sum uses the page's rates and no others."""
    page = set(priced["usd_per_million"].values())
    page |= set(priced.get("above", {}).get("usd_per_million", {}).values())
    return all(term.split(" * ")[1] in page for term in terms.split(" + "))


def test_the_corpus_has_what_it_promises() -> None:
    cases = [case for priced in CORPUS for case in priced["cases"]]
    assert len(cases) >= 200
    assert all(priced["page"].startswith("https://") for priced in CORPUS)
    told = " ".join(case["what"] for case in cases)
    for kind in ("cache", "both lifetimes", "tier", "thoughts", "failed", "image", "audio"):
        assert kind in told


@pytest.mark.parametrize(
    "priced", CORPUS, ids=lambda each: f"{each['provider']}-{each['model']}-{each['processing']}"
)
def test_cost(priced: dict[str, Any]) -> None:
    price = PriceTable().find(
        priced["provider"], priced["model"], Processing(priced["processing"]), DAY
    )
    assert isinstance(price, Price)
    read = READERS[priced["form"]]
    for case in priced["cases"]:
        assert rates_of(priced, case["sum"]), case
        assert by_hand(case["sum"]) == case["nano_usd"], case
        assert price.cost(read(json.dumps(case["usage"]).encode())) == case["nano_usd"], case

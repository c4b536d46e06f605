"""Mistakes that other systems made with the cost of batches: one case each.

Those about charging itself (at each look, or never; without an owner) are the ledger's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date

from core.prices.rates import Price, Unpriced
from core.prices.usage import Usage
from core.providers.openai.usage import read_usage

PricedBy = Callable[..., Price]
UnpricedBy = Callable[..., Unpriced]


def test_cached_tokens_are_not_at_the_full_batch_rate(priced: PricedBy) -> None:
    """litellm#38341."""
    price = priced("openai", "gpt-5.4-mini")
    # 0.375 and 0.0375 USD a million.
    assert price.cost(Usage(input=1_000_000, cached_input=1_000_000)) == 37_500_000
    assert price.cost(Usage(input=1_000_000)) == 375_000_000


def test_cache_writes_are_not_at_the_rate_of_input(priced: PricedBy) -> None:
    price = priced("anthropic", "claude-sonnet-4-6")
    # 1.5, 1.875 and 3 USD a million.
    assert price.cost(Usage(input=100_000)) == 150_000_000
    assert price.cost(Usage(input=100_000, cache_write_5m=100_000)) == 187_500_000
    assert price.cost(Usage(input=100_000, cache_write_1h=100_000)) == 300_000_000


def test_long_prompts_are_not_at_the_flat_rate(priced: PricedBy) -> None:
    """litellm#39861: gpt-5.6-luna in a batch, 0.10 and 0.60 USD a million, then 0.20 and 0.90."""
    price = priced("openai", "gpt-5.6-luna")
    assert price.cost(Usage(input=272_000, output=1_000)) == 27_200_000 + 600_000
    assert price.cost(Usage(input=272_001, output=1_000)) == 54_400_200 + 900_000
    # What was read from a cache counts to the length, and has a higher rate itself (0.02).
    assert price.cost(Usage(input=272_001, cached_input=272_001)) == 5_440_020


def test_what_has_no_price_does_not_cost_nothing(unpriced: UnpricedBy) -> None:
    """litellm#37077."""
    found = unpriced("acme", "rocket-1")
    assert not hasattr(found, "cost")
    assert "acme rocket-1 has no price in batches" in found.message
    assert 'provider = "acme"' in found.message
    assert unpriced("openai", "tts-1").reason.endswith("has no batch rate for it")
    assert "by the token" in unpriced("openai", "tts-1", "real_time").reason


def test_a_failed_line_costs_what_it_used(priced: PricedBy) -> None:
    body = {"error": {"code": "server_error"}, "usage": {"input_tokens": 900, "output_tokens": 40}}
    usage = read_usage(json.dumps(body["usage"]).encode())
    assert priced("openai", "o3").cost(usage) == 900_000 + 160_000


def test_a_model_without_a_batch_rate_is_not_at_the_real_time_rate(
    priced: PricedBy, unpriced: UnpricedBy
) -> None:
    """genai-prices answers with the real-time rate: 0.02 for text-embedding-3-small."""
    assert priced("openai", "text-embedding-3-small").cost(Usage(input=1_000_000)) == 10_000_000
    assert "no batch rate" in unpriced("openai", "gpt-audio-mini").reason
    assert priced("openai", "gpt-audio-mini", "real_time").cost(Usage(input=10)) == 6_000


def test_a_day_before_batch_rates_were_recorded_is_not_at_the_real_time_rate(
    priced: PricedBy, unpriced: UnpricedBy
) -> None:
    """genai-prices has batch rates from 2026-10-14 on, and before it the real-time rate."""
    price = priced("openai", "gpt-4.1", day=date(2026, 9, 1))
    assert price.cost(Usage(input=1_000_000)) == 1_000_000_000
    assert "recorded on 2026-10-14" in price.origins[0].note
    assert price.origins[0].since is None
    # The price has changed in between: nobody knows what a batch cost.
    assert "is known from 2026-10-14 on" in unpriced("openai", "o3", day=date(2025, 5, 1)).reason


def test_batches_do_not_halve_everything(priced: PricedBy) -> None:
    """Gemini's cached tokens and Anthropic's searches have no batch discount."""
    usage = Usage(input=300_000, cached_input=100_000, output=10_000)
    assert priced("gemini", "gemini-3.1-pro-preview").cost(usage) == 530_000_000
    assert priced("gemini", "gemini-3.1-pro-preview", "real_time").cost(usage) == 1_020_000_000
    assert priced("anthropic", "claude-opus-5").cost(Usage(web_searches=1)) == 10_000_000


def test_a_fine_tuned_model_does_not_cost_as_its_base(unpriced: UnpricedBy) -> None:
    assert "does not know the model" in unpriced("openai", "ft:gpt-4.1-2025-04-14:acme::1").reason

"""Estimates as the gateway makes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from polybatch.v1 import batches_pb2, prices_pb2


def fill(money: Any, usd: str) -> None:
    """Sets a google.type.Money."""
    amount = Decimal(usd)
    money.currency_code, money.units = "USD", int(amount)
    money.nanos = int((amount - int(amount)).scaleb(9))


def estimate(
    *costs: tuple[str, str, str], unpriced: str = "", unlimited: int = 0, rescuable: int = 0
) -> batches_pb2.BatchEstimate:
    """Of models with an expected cost and the most, in USD; the first may have no price.

    `rescuable`: so many of them can be called line by line.
    """
    found = batches_pb2.BatchEstimate(line_count=100)
    for number, (model, expected, at_most) in enumerate(costs):
        each = found.models.add(
            provider="openai",
            model=model,
            processing=prices_pb2.PROCESSING_BATCH,
            line_count=50,
            rescuable=number < rescuable,
            basis="3.0 bytes of text a token, as nothing is learned yet; answers of 500 tokens",
        )
        for range_ in (each.range, found.total):
            range_.prompt_tokens_expected += 1_000
            range_.prompt_tokens_at_most += 3_000
            range_.output_tokens_expected += 500
        if not number and unpriced:
            each.unpriced = unpriced
            continue
        fill(each.range.expected, expected)
        fill(each.range.real_time_expected, str(2 * Decimal(expected)))
        if not number and unlimited:
            each.unlimited_line_count = unlimited
        else:
            fill(each.range.at_most, at_most)
            fill(each.range.real_time_at_most, str(2 * Decimal(at_most)))
    if not unpriced:
        expected_in_all = sum(Decimal(expected) for _, expected, _ in costs)
        fill(found.total.expected, str(expected_in_all))
        fill(found.total.real_time_expected, str(2 * expected_in_all))
        if not unlimited:
            fill(found.total.at_most, str(sum(Decimal(at_most) for _, _, at_most in costs)))
    return found

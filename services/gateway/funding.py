"""Refusals of batches that nobody pays for, each with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from core.ledger import BudgetPeriod, NoFunds, NoPrice, Purse, usd
from core.prices.snapshot import Snapshot
from core.serving import ApiError
from services.gateway.estimating import Estimate, ModelEstimate


class Funding:
    """What a batch is to reserve, and why it cannot."""

    def __init__(self, reserve_factor: float) -> None:
        """`reserve_factor`: how much is held of what a batch is expected to cost."""
        # As it was written, not as it is kept in binary.
        self._factor = Fraction(str(reserve_factor))

    def reserve(self, expected_nanos: int | None, max_cost_nanos: int | None) -> int | None:
        """Nano-dollars that a batch is to hold; None: not known what it will cost.

        No more than its `max_cost`, which it cannot come to spend more than.
        """
        if expected_nanos is None:
            return None
        held = math.ceil(expected_nanos * self._factor)
        return held if max_cost_nanos is None else min(held, max_cost_nanos)


def refusal(lacking: NoFunds | NoPrice, prices: Snapshot) -> ApiError:
    """UNPRICED_MODEL, INSUFFICIENT_CREDITS or BUDGET_EXCEEDED."""
    if isinstance(lacking, NoPrice):
        return _unpriced(prices)
    if lacking.purse is Purse.CREDITS:
        return _no_credits(lacking)
    return _over_budget(lacking)


def _unpriced(prices: Snapshot) -> ApiError:
    first, *others = prices.unpriced()
    more = f" ({len(others)} more models have none)" if others else ""
    return ApiError.failed_precondition(
        "UNPRICED_MODEL",
        "what the account or its key may spend is limited, and nobody knows what the batch will "
        f"cost: {first.message}{more}",
        metadata={"models": ",".join(f"{each.provider}/{each.model}" for each in (first, *others))},
    )


def refuse_unbounded(estimate: Estimate) -> None:
    """Refuse a batch with a max cost of which nobody knows the most that it can cost.

    Raises UNPRICED_MODEL and OUTPUT_UNLIMITED.
    """
    unpriced = [each for each in estimate.models if each.unknown is not None]
    if unpriced:
        assert unpriced[0].unknown is not None
        raise ApiError.failed_precondition(
            "UNPRICED_MODEL",
            "a batch with max_cost can have no lines whose cost is not known: "
            f"{unpriced[0].unknown.message}{_others(unpriced, 'have none')}",
            metadata={"models": _named(unpriced)},
        )
    unlimited = [each for each in estimate.models if each.unlimited_lines]
    if unlimited:
        first, lines = unlimited[0], sum(each.unlimited_lines for each in unlimited)
        raise ApiError.failed_precondition(
            "OUTPUT_UNLIMITED",
            "a batch with max_cost can have no lines that could cost any amount: nobody knows how "
            f"long the answers of {first.provider}/{first.model} may be, what its own tools add to "
            "the prompt, or what a tier of the service costs, in "
            f"{first.unlimited_lines} of {first.lines} lines"
            f"{_others(unlimited, 'have such lines')}: set max_tokens (max_completion_tokens, "
            "max_output_tokens) in each, and leave out tools that the provider runs and "
            "service_tier, or leave out max_cost",
            metadata={"models": _named(unlimited), "lines": str(lines)},
        )


def _others(models: Sequence[ModelEstimate], what: str) -> str:
    return f" ({len(models) - 1} more models {what})" if len(models) > 1 else ""


def _named(models: Sequence[ModelEstimate]) -> str:
    return ",".join(f"{each.provider}/{each.model}" for each in models)


def _no_credits(lacking: NoFunds) -> ApiError:
    return ApiError.failed_precondition(
        "INSUFFICIENT_CREDITS",
        f"the batch has to reserve {usd(lacking.needed)} USD, and of the account's credits "
        f"{usd(lacking.left)} USD are free, as other batches hold {usd(lacking.reserved)} USD: ask "
        f"the operator to grant {usd(lacking.needed - lacking.left)} USD, wait for other batches "
        "to end, or send fewer lines",
        metadata={
            "needed": usd(lacking.needed),
            "reserved": usd(lacking.reserved),
            "free": usd(lacking.left),
        },
    )


def _over_budget(lacking: NoFunds) -> ApiError:
    monthly = lacking.period == BudgetPeriod.MONTH
    wait = "wait for the next month (UTC), " if monthly else ""
    period = " of this month" if monthly else ""
    return ApiError.failed_precondition(
        "BUDGET_EXCEEDED",
        f"the batch has to reserve {usd(lacking.needed)} USD, and of the {lacking.purse}'s "
        f"budget{period} {usd(lacking.left)} USD are left, as other batches hold "
        f"{usd(lacking.reserved)} USD: {wait}have the budget raised, wait for other batches to "
        "end, or send fewer lines",
        metadata={
            "owner": lacking.purse.value,
            "owner_id": lacking.owner_id,
            "needed": usd(lacking.needed),
            "reserved": usd(lacking.reserved),
            "left": usd(lacking.left),
            "period": lacking.period.value if lacking.period else "",
        },
    )

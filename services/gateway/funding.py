"""Refusals of batches that nobody pays for, each with what to do about it."""

from __future__ import annotations

import math
from fractions import Fraction

from core.ledger import BudgetPeriod, NoFunds, NoPrice, Purse, usd
from core.prices.snapshot import Snapshot
from core.serving import ApiError


class Funding:
    """What a batch is to reserve, and why it cannot."""

    def __init__(self, reserve_factor: float) -> None:
        """`reserve_factor`: how much is held of what a batch is expected to cost."""
        # As it was written, not as it is kept in binary.
        self._factor = Fraction(str(reserve_factor))

    def reserve(self, expected_nanos: int | None) -> int | None:
        """Nano-dollars that a batch is to hold; None: not known what it will cost."""
        return None if expected_nanos is None else math.ceil(expected_nanos * self._factor)


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

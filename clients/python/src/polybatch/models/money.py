"""Amounts of USD: exact decimals here, google.type.Money on the wire, never a float."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from google.type.money_pb2 import Money  # type: ignore[import-untyped]

from polybatch.errors import InvalidRequest

USD = Decimal | str | int
"""An amount: Decimal("1.5"), "1.5" or 2. Not a float, which has no exact cents."""

_NANO = 10**9
_MOST = 10**9


def from_money(money: Any) -> Decimal:
    """Returns the amount of a google.type.Money in USD."""
    return Decimal(money.units) + Decimal(money.nanos).scaleb(-9)


def to_money(amount: USD, name: str, *, signed: bool = False) -> Any:
    """Returns the google.type.Money of an amount. InvalidRequest where it has no exact one, or is
    below 0 and not `signed`."""
    if isinstance(amount, float):
        raise InvalidRequest(
            f'{name} is a float; expected a Decimal or a string such as "1.5".',
            reason="INVALID_FIELD",
        )
    try:
        exact = Decimal(amount)
        nanos = exact.scaleb(9)
        fits = exact.is_finite() and abs(exact) < _MOST and nanos == nanos.to_integral_value()
        fits = fits and (signed or exact >= 0)
    except InvalidOperation:
        fits = False
    if not fits:
        least = "" if signed else " from 0 on"
        raise InvalidRequest(
            f"{name} is {str(amount)[:40]!r}; expected USD{least}, below "
            "a billion and of at most nine decimals.",
            reason="INVALID_FIELD",
        )
    units, rest = divmod(abs(int(nanos)), _NANO)
    sign = -1 if nanos < 0 else 1
    return Money(currency_code="USD", units=sign * units, nanos=sign * rest)

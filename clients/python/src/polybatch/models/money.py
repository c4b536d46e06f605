"""Amounts of USD as exact decimals."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from google.type.money_pb2 import Money  # type: ignore[import-untyped]

_NANO = 1_000_000_000
_DECIMALS = 9
_MOST = 10**12


def usd(money: Any) -> Decimal:
    """Returns an amount in USD, exactly."""
    return Decimal(money.units) + Decimal(money.nanos).scaleb(-_DECIMALS)


def usd_or_none(message: Any, field: str) -> Decimal | None:
    """Returns an amount of a message, None where it is not set."""
    return usd(getattr(message, field)) if message.HasField(field) else None


def money(amount: Decimal | int | str) -> Any:
    """Returns the google.type.Money of an amount of USD. ValueError where it has no exact one.

    Floats are not taken: 0.1 is none of them.
    """
    try:
        dollars = Decimal(amount) if not isinstance(amount, float) else None
    except InvalidOperation:
        dollars = None
    exponent = "" if dollars is None else dollars.as_tuple().exponent
    # Of what is no number it is a letter.
    if dollars is None or not isinstance(exponent, int) or not -_MOST < dollars < _MOST:
        raise ValueError(f"{amount!r} is no amount of USD, such as Decimal('12.50')")
    if exponent < -_DECIMALS:
        raise ValueError(f"{amount} has more than nine decimals")
    nanos = int(dollars.scaleb(_DECIMALS))
    units, rest = divmod(abs(nanos), _NANO)
    sign = -1 if nanos < 0 else 1
    return Money(currency_code="USD", units=sign * units, nanos=sign * rest)

"""The prices that hold for a batch, kept with it: they price the same for ever.

Stored as JSON, read without genai-prices. Its rates are whole (every kind has one), so neither a
release of the price data nor a change of the fallback rules here changes an old batch.
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import Literal

import msgspec

from core.prices.rates import Price, Processing, Unpriced


class BadSnapshot(Exception):
    """Stored prices that are not of a form that this release knows."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Prices of a day (UTC), the account's mark-up in their rates."""

    form: Literal[1] = 1
    """Of the JSON. A release that has to change it goes on reading this one."""
    day: date
    prices: tuple[Price | Unpriced, ...]

    def price(self, provider: str, model: str, processing: Processing) -> Price | Unpriced:
        """The price of a model of the batch. Raises KeyError for another."""
        return self._by_name[provider, model, processing]

    def unpriced(self) -> list[Unpriced]:
        """The models without a price."""
        return [each for each in self.prices if isinstance(each, Unpriced)]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, Processing], Price | Unpriced]:
        return {(each.provider, each.model, each.processing): each for each in self.prices}

    def encode(self) -> bytes:
        """JSON, the same bytes for the same prices."""
        return _encoder.encode(self)


def read_snapshot(raw: bytes | str) -> Snapshot:
    """What encode wrote. Raises BadSnapshot."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadSnapshot(f"stored prices cannot be read: {error}") from None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Snapshot)

"""What models cost. Fields are those of protos/polybatch/v1/prices.proto."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from polybatch.models.messages import from_message
from polybatch.models.money import from_money
from polybatch.v1 import prices_pb2 as pb


class Processing(StrEnum):
    """How requests are run, which decides their price."""

    UNKNOWN = "unknown"
    """One that this release does not know."""
    BATCH = "batch"
    REAL_TIME = "real_time"
    """As a call of its own, as all lines of a provider without batches."""

    @classmethod
    def from_proto(cls, number: int) -> Processing:
        """Returns it for its number on the wire; UNKNOWN for one yet unknown."""
        return _PROCESSING.get(number, cls.UNKNOWN)


_PROCESSING: dict[int, Processing] = {
    pb.PROCESSING_BATCH: Processing.BATCH,
    pb.PROCESSING_REAL_TIME: Processing.REAL_TIME,
}


@dataclass(frozen=True, slots=True)
class PriceBand:
    """Rates of prompts of some length; they hold for all tokens of such a request."""

    above_prompt_tokens: int | None
    """It holds for prompts of more tokens than this; None in the first."""
    per_million: Mapping[str, Decimal]
    """USD for a million, by kind: "input", "cached_input", "output" and the others of
    docs/prices.md. A part without a rate of its own costs as the whole that it is a part of."""


@dataclass(frozen=True, slots=True)
class PriceOrigin:
    """Where some rates of a price come from."""

    source: str
    """"prices file", "genai-prices 0.2.3" or "polybatch"."""
    kinds: tuple[str, ...]
    """Keys of `per_million`; empty for a factor on all of them."""
    processing: Processing
    """Of a batch's price some rates may be those of real time, where no other is published."""
    since: date | None
    """From when on they hold; None where that is not known."""
    where: str
    """The provider's page, or the place in the prices file."""
    note: str


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs the account, in one way of processing, on a day."""

    provider: str
    model: str
    """The provider's id, or a pattern of the prices file ("*")."""
    processing: Processing
    day: date
    """UTC."""
    unpriced: str
    """Why there is no price, else empty: a model without one never costs 0."""
    bands: tuple[PriceBand, ...]
    """By rising length of the prompt; empty where there is no price."""
    origins: tuple[PriceOrigin, ...]
    markup: Decimal
    """The account's factor, which is in the rates already."""
    not_reckoned: tuple[str, ...]
    """What the provider charges besides and no usage tells."""

    @classmethod
    def from_proto(cls, message: Any) -> Price:
        """Builds it from polybatch.v1.Price."""
        return from_message(
            cls,
            message,
            processing=Processing.from_proto(message.processing),
            day=_date(message.day),
            bands=tuple(
                from_message(
                    PriceBand,
                    band,
                    per_million={
                        kind: from_money(band.per_million[kind])
                        for kind in sorted(band.per_million)
                    },
                )
                for band in message.bands
            ),
            origins=tuple(
                from_message(
                    PriceOrigin,
                    each,
                    processing=Processing.from_proto(each.processing),
                    since=_date(each.since) if each.HasField("since") else None,
                )
                for each in message.origins
            ),
            markup=Decimal(message.markup or 1),
        )


def _date(message: Any) -> date:
    return date(message.year, message.month, message.day)

"""What was spent, on what. Fields are those of protos/polybatch/v1/usage.proto."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from polybatch.models.batches import Usage
from polybatch.models.messages import from_message
from polybatch.models.money import from_money
from polybatch.v1 import usage_pb2 as pb


class UsageGroup(StrEnum):
    """What usage is summed up by."""

    DAY = "day"
    MONTH = "month"
    ACCOUNT = "account"
    KEY = "key"
    PROVIDER = "provider"
    MODEL = "model"
    BATCH = "batch"

    def to_proto(self) -> Any:
        """Returns the number on the wire."""
        return pb.UsageGroup.Value(f"USAGE_GROUP_{self.name}")


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """A sum; what it was not grouped by is empty."""

    day: date | None
    """UTC, on which the answers came home; None where it was not grouped by days."""
    month: str
    """As "2026-11"."""
    account_id: str
    account_name: str
    key_id: str
    key_name: str
    provider: str
    model: str
    batch_id: str
    line_count: int
    """Lines answered, well or ill."""
    unpriced_line_count: int
    """Of these, lines with tokens and without a price; they are not in `cost`."""
    usage: Usage
    cost: Decimal
    """USD."""
    late_cost: Decimal
    """Of `cost`, for answers that came after their batch had ended."""

    @classmethod
    def from_proto(cls, message: Any) -> UsageEntry:
        """Builds it from polybatch.v1.UsageEntry."""
        day = message.day
        return from_message(
            cls,
            message,
            day=date(day.year, day.month, day.day) if message.HasField("day") else None,
            usage=Usage.from_proto(message.usage),
            cost=from_money(message.cost),
            late_cost=from_money(message.late_cost),
        )

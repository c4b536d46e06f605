"""What a batch will cost. Fields are those of protos/polybatch/v1/batches.proto."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from polybatch.models.messages import from_message
from polybatch.models.prices import Processing


@dataclass(frozen=True, slots=True)
class CostRange:
    """Tokens and USD of a model's lines, or of all: as expected, and at the most."""

    prompt_tokens_expected: int
    prompt_tokens_at_most: int
    output_tokens_expected: int
    output_tokens_at_most: int | None
    """None where nobody knows how long some line's answer may be."""
    expected: Decimal | None
    """USD; None where there is no price."""
    at_most: Decimal | None
    """USD; None where there is no price, or some line is not limited."""
    real_time_expected: Decimal | None
    """USD for the same lines as calls of their own; None where there is no such price."""
    real_time_at_most: Decimal | None

    @classmethod
    def from_proto(cls, message: Any, *, limited: bool) -> CostRange:
        """Builds it from polybatch.v1.CostRange. `limited`: whether all lines are."""
        at_most = message.output_tokens_at_most if limited else None
        return from_message(cls, message, output_tokens_at_most=at_most)


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """Of the lines of one model."""

    provider: str
    model: str
    """As the lines name it."""
    processing: Processing
    line_count: int
    range: CostRange
    unpriced: str
    """Why there is no price, and how to give it one; else empty."""
    unlimited_line_count: int
    """Lines of which nobody knows how long the answer, or the prompt, may be."""
    basis: str
    """How it was reckoned, human-readable."""


@dataclass(frozen=True, slots=True)
class BatchEstimate:
    """What a batch of a file will cost."""

    input_file_id: str
    line_count: int
    """Lines that will be sent."""
    total: CostRange
    models: tuple[ModelEstimate, ...]
    """By falling expected cost."""

    @property
    def unlimited_line_count(self) -> int:
        """Lines of which nobody knows how long the answer, or the prompt, may be."""
        return sum(each.unlimited_line_count for each in self.models)

    @property
    def unpriced_models(self) -> tuple[ModelEstimate, ...]:
        """Models without a price, for which there is no total."""
        return tuple(each for each in self.models if each.unpriced)

    @classmethod
    def from_proto(cls, message: Any) -> BatchEstimate:
        """Builds it from polybatch.v1.BatchEstimate."""
        models = tuple(
            from_message(
                ModelEstimate,
                each,
                processing=Processing.from_proto(each.processing),
                range=CostRange.from_proto(each.range, limited=not each.unlimited_line_count),
            )
            for each in message.models
        )
        limited = not any(each.unlimited_line_count for each in models)
        total = CostRange.from_proto(message.total, limited=limited)
        return from_message(cls, message, total=total, models=models)

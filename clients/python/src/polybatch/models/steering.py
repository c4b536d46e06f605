"""How a batch is steered. Fields are those of protos/polybatch/v1/batches.proto."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from polybatch.v1 import batches_pb2 as pb


class BatchPriority(StrEnum):
    """Which batches of an account go first."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @classmethod
    def from_proto(cls, number: int) -> BatchPriority:
        """Returns the priority for its number on the wire; NORMAL for one yet unknown."""
        return _PRIORITIES.get(number, cls.NORMAL)

    def to_proto(self) -> Any:
        """Returns the number on the wire."""
        return pb.BatchPriority.Value(f"BATCH_PRIORITY_{self.name}")


_PRIORITIES: dict[int, BatchPriority] = {each.to_proto(): each for each in BatchPriority}


class CanaryState(StrEnum):
    """Of the lines that go first."""

    NONE = "none"
    """The batch was stopped before they had their outcome."""
    RUNNING = "running"
    """They are under way; the others wait for them."""
    PASSED = "passed"
    FAILED = "failed"
    """Too many failed: the others were not sent, and have the code "canary_failed"."""


_CANARY_STATES: dict[int, CanaryState] = {
    pb.CANARY_STATE_UNSPECIFIED: CanaryState.NONE,
    pb.CANARY_STATE_RUNNING: CanaryState.RUNNING,
    pb.CANARY_STATE_PASSED: CanaryState.PASSED,
    pb.CANARY_STATE_FAILED: CanaryState.FAILED,
}


@dataclass(frozen=True, slots=True)
class Canary:
    """The lines that go first."""

    lines_per_model: int
    max_failure_rate: float
    """The others go where no larger share of each model's failed."""
    state: CanaryState

    @classmethod
    def from_proto(cls, message: Any) -> Canary:
        """Builds it from polybatch.v1.Canary."""
        return cls(
            lines_per_model=message.lines_per_model,
            max_failure_rate=message.max_failure_rate,
            state=_CANARY_STATES.get(message.state, CanaryState.NONE),
        )

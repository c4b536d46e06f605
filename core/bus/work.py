"""The values that pass through the work queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from polybatch.v1.events_pb2 import WorkItem

STREAM = "POLYBATCH_WORK"
WORK_SUBJECTS = "polybatch.work.*"
TRACEPARENT = "traceparent"
"""Header of a work item: the span context that its batch was made in, by W3C."""


class BusUnavailable(Exception):
    """NATS did not take a message, or could not be reached, within the time allowed."""


class Step(StrEnum):
    """The steps of a batch's lifecycle; each has its own subject and its own consumer."""

    PLAN = "plan"
    SUBMIT = "submit"
    RUN = "run"
    POLL = "poll"
    FETCH = "fetch"
    ASSEMBLE = "assemble"
    STOP = "stop"

    @property
    def subject(self) -> str:
        """The subject that the step's work items are published on."""
        return f"polybatch.work.{self.value}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What NATS knows of one delivery of a work item."""

    count: int
    """How often the item was delivered, this time included."""
    first_seen: datetime
    """When the item was published."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The item has been dealt with and leaves the queue."""


@dataclass(frozen=True, slots=True)
class Snooze:
    """The item is to come back after `delay` seconds."""

    delay: float


Outcome: TypeAlias = Ack | Snooze

Handler: TypeAlias = Callable[[WorkItem, Delivery], Awaitable[Outcome]]
"""Must be safe to run twice for one item, also at the same time in two replicas."""

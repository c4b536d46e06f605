"""What the handling of one delivery leaves in the metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from core.bus.work import Delivery, Done, Outcome, Step
from core.metrics import WORK_ITEMS_IN_HAND, WORK_SECONDS, WORK_WAIT_SECONDS


@dataclass(slots=True)
class Handling:
    """A delivery being handled. `outcome` stays None when the handler was cancelled."""

    outcome: Outcome | None = None
    failed: bool = False
    """The handler raised; `outcome` says when the item comes back."""

    @property
    def name(self) -> str:
        """How the handling ended, in one word."""
        if self.outcome is None:
            return "handed_back"
        if self.failed:
            return "failed"
        return "done" if isinstance(self.outcome, Done) else "again"


@contextmanager
def measured(step: Step, delivery: Delivery) -> Iterator[Handling]:
    """Measure the handling of a delivery, which is the block."""
    if delivery.count == 1:
        waited = (datetime.now(UTC) - delivery.first_seen).total_seconds()
        WORK_WAIT_SECONDS.labels(step.value).observe(max(waited, 0.0))
    handling = Handling()
    started = time.perf_counter()
    with WORK_ITEMS_IN_HAND.labels(step.value).track_inprogress():
        try:
            yield handling
        finally:
            elapsed = time.perf_counter() - started
            WORK_SECONDS.labels(step.value, handling.name).observe(elapsed)

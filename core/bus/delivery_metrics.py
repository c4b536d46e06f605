"""What the handling of one delivery leaves in the metrics and in the trace of its batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from polybatch.v1.events_pb2 import WorkItem

from core import tracing
from core.bus.work import Ack, Delivery, Outcome, Step
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
        return "done" if isinstance(self.outcome, Ack) else "again"


@contextmanager
def measured(
    step: Step, item: WorkItem, delivery: Delivery, traceparent: str
) -> Iterator[Handling]:
    """Measure the handling of a delivery, which is the block. `traceparent`: of its batch."""
    with _counted(step, delivery) as handling, _traced(step, item, delivery, traceparent, handling):
        yield handling


@contextmanager
def _counted(step: Step, delivery: Delivery) -> Iterator[Handling]:
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


@contextmanager
def _traced(
    step: Step, item: WorkItem, delivery: Delivery, traceparent: str, handling: Handling
) -> Iterator[None]:
    """A span of the batch's trace for the first delivery; further ones have traces of their own.

    A shard is polled for hours: a span for each look would bury the rest. So each look
    after the first is a trace of its own with a link to the batch's, and when the item is
    done at last, one span in the batch's trace covers all the time since it was published.
    Not so for the stop: it waits for the window's end, when the batch has mostly ended.
    """
    if not tracing.enabled():
        yield
        return
    attributes: dict[str, tracing.Value] = {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.destination.name": step.subject,
        "polybatch.batch_id": item.batch_id,
        "polybatch.deliveries": delivery.count,
    }
    if item.shard_id:
        attributes["polybatch.shard_id"] = item.shard_id
    first = delivery.count == 1
    parent, link = (traceparent, "") if first else ("", traceparent)
    with tracing.span(
        step.value, "consumer", parent=parent, link=link, attributes=attributes
    ) as span:
        try:
            yield
        finally:
            span.set("polybatch.outcome", handling.name)
            if handling.failed:
                span.fail("handler")
    if not first and isinstance(handling.outcome, Ack) and step is not Step.STOP:
        tracing.mark(
            f"{step.value} until done",
            parent=traceparent,
            link=span.traceparent,
            start=delivery.first_seen,
            attributes=attributes,
        )

"""The trace of a batch over a real NATS: whose it is, and what comes back again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from polybatch.v1.events_pb2 import WorkItem

from core import tracing
from core.bus import Ack, Bus, Delivery, Snooze, Step
from core.ledger import Batch, Ledger, new_id, now
from core.pipeline import EventPublisher
from tests.support.gateway.nats import Nats
from tests.support.ledger.rows import batch_row, file_row

PATIENCE = 20.0
ONE = "11111111111111111111111111111111"
TWO = "22222222222222222222222222222222"


@pytest.fixture
async def bus(own_nats: Nats) -> AsyncIterator[Bus]:
    connected = await Bus.connect(own_nats.url, name="test")
    yield connected
    await connected.close()


async def make_batch(ledger: Ledger, trace: str) -> str:
    file = await ledger.files.finish_upload(
        file_row(account_id="acct_1", upload_id=new_id("upload"))
    )
    batch = batch_row(
        file,
        created_at=now(),
        expires_at=now(),
        due_at=now(),
        traceparent=f"00-{trace}-00f067aa0ba902b7-01" if trace else "",
    )
    assert isinstance(await ledger.batches.create(batch), Batch)
    return batch.id


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


async def test_work_belongs_to_the_trace_of_its_own_batch(
    written: InMemorySpanExporter, bus: Bus, ledger: Ledger
) -> None:
    publisher = EventPublisher(bus, ledger)
    batches = [await make_batch(ledger, trace) for trace in (ONE, TWO, "")]
    traces: dict[str, str] = {}
    seen = asyncio.Event()

    async def handle(item: WorkItem, _delivery: Delivery) -> Ack:
        traces[item.batch_id] = tracing.trace_id()
        if item.batch_id == batches[0]:
            # As when room under a limit comes free, and when a sweep finds rows that are due.
            for other in batches[1:]:
                await publisher.enqueue(Step.SUBMIT, other)
        if len(traces) == len(batches):
            seen.set()
        return Ack()

    consumer = await bus.consume(Step.SUBMIT, handle, concurrency=2)
    await publisher.enqueue(Step.SUBMIT, batches[0])
    await asyncio.wait_for(seen.wait(), PATIENCE)
    await consumer.stop()

    assert [traces[batch] for batch in batches[:2]] == [ONE, TWO]
    assert traces[batches[2]] not in ("", ONE, TWO), "a batch that is not traced: one for each step"
    assert {trace_of(span) for span in written.get_finished_spans()} == set(traces.values())


async def test_what_comes_back_has_a_trace_of_its_own_and_a_summary_at_the_end(
    written: InMemorySpanExporter, bus: Bus, ledger: Ledger
) -> None:
    batch_id = await make_batch(ledger, ONE)
    done = asyncio.Event()

    async def handle(_item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        if delivery.count == 1:
            return Snooze(0.01)
        if delivery.count == 2:
            raise RuntimeError("a fault")
        done.set()
        return Ack()

    consumer = await bus.consume(Step.POLL, handle, concurrency=1)
    await EventPublisher(bus, ledger).enqueue(Step.POLL, batch_id, "shard_1")
    await asyncio.wait_for(done.wait(), PATIENCE)
    await consumer.stop()

    first, second, third, summary = written.get_finished_spans()
    outcomes = [(span.attributes or {})["polybatch.outcome"] for span in (first, second, third)]
    assert outcomes == ["again", "failed", "done"]
    assert trace_of(first) == trace_of(summary) == ONE
    assert summary.name == "poll until done"
    assert first.parent == summary.parent
    own = {trace_of(second), trace_of(third)}
    assert len(own) == 2
    assert ONE not in own
    for span in (second, third):
        assert [f"{link.context.trace_id:032x}" for link in span.links] == [ONE]
    assert [link.context.trace_id for link in summary.links] == [third.context.trace_id]
    assert not first.status.description
    assert "a fault" not in second.to_json()

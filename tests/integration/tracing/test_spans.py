"""Spans as the SDK exports them, in memory."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from core import tracing
from core.settings import TracingSettings
from core.tracing import BadTracing, start_tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"


def test_nothing_happens_while_tracing_is_off() -> None:
    with tracing.span("work", parent=SAMPLED) as span:
        span.set("polybatch.step", "poll")
        span.fail("Error")
        assert tracing.traceparent() == tracing.trace_id() == span.traceparent == ""
    tracing.note("polybatch.step", "poll")
    assert not tracing.enabled()


def test_parents_children_and_links(written: InMemorySpanExporter) -> None:
    with tracing.span("outer", "server", parent=SAMPLED) as outer:
        assert tracing.trace_id() == TRACE
        assert tracing.traceparent() == outer.traceparent
        tracing.note("polybatch.batch_id", "batch_1")
        with tracing.span("aside", "client", current=False):
            assert tracing.traceparent() == outer.traceparent
    with tracing.span("elsewhere", parent="", link=SAMPLED):
        assert tracing.trace_id() not in ("", TRACE)
    aside, first, elsewhere = written.get_finished_spans()
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert dict(first.attributes or {}) == {"polybatch.batch_id": "batch_1"}
    assert aside.parent == first.get_span_context()
    assert elsewhere.parent is None
    assert [f"{link.context.trace_id:032x}" for link in elsewhere.links] == [TRACE]


def test_what_is_no_traceparent_counts_as_none(written: InMemorySpanExporter) -> None:
    for garbage in ("", "00-zz-zz-01", "x" * 5000, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        with tracing.span("work", parent=garbage):
            pass
    assert [span.parent for span in written.get_finished_spans()] == [None] * 4


def test_a_trace_that_is_not_kept_is_kept_nowhere(written: InMemorySpanExporter) -> None:
    with tracing.span("step", parent=UNSAMPLED), tracing.span("call"):
        pass
    with tracing.span("later step", parent="", link=UNSAMPLED), tracing.span("call"):
        pass
    tracing.mark(
        "until done", parent=UNSAMPLED, link=SAMPLED, start=datetime.now(UTC), attributes={}
    )
    assert written.get_finished_spans() == ()


def test_errors_are_named_without_their_message(written: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="sk-secret"), tracing.span("work"):
        raise ValueError("the key sk-secret is wrong")
    with pytest.raises(KeyError), tracing.span("rpc", judged=False):
        raise KeyError("x")
    with pytest.raises(asyncio.CancelledError), tracing.span("cancelled"):
        raise asyncio.CancelledError
    failed, unjudged, cancelled = written.get_finished_spans()
    assert failed.status.status_code is StatusCode.ERROR
    assert dict(failed.attributes or {}) == {"error.type": "ValueError"}
    assert "sk-secret" not in failed.to_json()
    assert unjudged.status.status_code is StatusCode.UNSET
    assert dict(cancelled.attributes or {}) == {"polybatch.cancelled": True}


def test_a_mark_covers_the_time_since_its_start(written: InMemorySpanExporter) -> None:
    start = datetime.now(UTC) - timedelta(hours=3)
    tracing.mark("until done", parent=SAMPLED, link="", start=start, attributes={})
    (span,) = written.get_finished_spans()
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time >= 3 * 3600 * 1e9


def test_settings_say_whether_there_are_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert not TracingSettings().enabled
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
    assert TracingSettings().enabled
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert not TracingSettings().enabled
    monkeypatch.delenv("OTEL_TRACES_EXPORTER")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert start_tracing("gateway", TracingSettings()) is None


def test_another_protocol_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with pytest.raises(BadTracing, match=r"'http/protobuf'.*4317"):
        start_tracing("gateway", TracingSettings())


async def test_a_collector_that_is_away_does_not_keep_a_service_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setattr("core.tracing.starting._FLUSH_SECONDS", 0.2)
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}"
        )
        started = start_tracing("gateway", TracingSettings())
        assert started is not None
        with tracing.span("work"):
            pass
        await started.stop()
    assert not tracing.enabled()

"""One trace follows a batch from the caller's program to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from polybatch import BatchState

from tests.support.e2e.inputs import chat, write
from tests.support.e2e.otlp import Span, running_collector
from tests.support.e2e.suite import ROOT, running_suite

pytestmark = pytest.mark.long

HTTP_TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = SpanContext(int(TRACE, 16), 0x00F067AA0BA902B7, False, TraceFlags(TraceFlags.SAMPLED))
QUESTION = "a question that nobody else has to see"
SERVICES = {"polybatch-gateway", "polybatch-dispatcher", "polybatch-collector"}


def ended(spans: list[Span], trace_id: str) -> bool:
    """Whether all has come: each process exports at its own pace."""
    own = [span for span in spans if span.trace_id == trace_id]
    names = [span.name for span in own]
    return (
        {"plan", "stop", "assemble"} <= set(names)
        and all(names.count(name) >= 2 for name in ("submit", "fetch", "poll until done"))
        and names.count("openai create") == names.count("anthropic create") == 1
        and any("rpc.system" in span.attributes for span in own if is_about_a_batch(span))
    )


def is_about_a_batch(span: Span) -> bool:
    return "polybatch.batch_id" in span.attributes


@pytest.mark.timeout(120)
def test_a_batch_is_one_connected_trace(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", (chat(number, QUESTION) for number in range(6)))
    with (
        running_collector() as collector,
        running_suite(
            tmp_path / "suite",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
            OTEL_BSP_SCHEDULE_DELAY="100",
            POLYBATCH_WEB_LISTEN="127.0.0.1:0",
        ) as suite,
    ):
        # Long enough for each shard to be polled more than once.
        suite.reset_sandbox(batch_seconds=1)
        with use_span(NonRecordingSpan(CALLER)), suite.client() as client:
            batch = client.submit(path)
        with suite.client() as client:
            assert client.wait(batch.id, timeout=60).state == BatchState.COMPLETED
        spans = collector.wait_for(lambda found: ended(found, TRACE), "the trace of the batch")
        with suite.client() as client:
            later = client.submit(path)
        # A call from without a trace begins one, which is not the first one's.
        spans = collector.wait_for(
            lambda found: any(
                span.attributes.get("polybatch.batch_id") == later.id and span.name == "plan"
                for span in found
            ),
            "the plan of the second batch",
        )
        with suite.client() as client:
            client.cancel_batch(later.id)
            client.wait(later.id, timeout=60)
        key = (suite.data_dir / "api-key").read_text().strip()
        asked = urllib.request.Request(
            f"{suite.ready['web']}/v1/batches",
            headers={
                "authorization": f"Bearer {key}",
                "traceparent": f"00-{HTTP_TRACE}-{CALLER.span_id:016x}-01",
            },
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status == 200
        spans = collector.wait_for(
            lambda found: (
                {each.service for each in found if each.trace_id == HTTP_TRACE}
                >= {"polybatch-web", "polybatch-gateway"}
            ),
            "the trace of a call over HTTP",
        )

    over_http = {each.service: each for each in spans if each.trace_id == HTTP_TRACE}
    door = over_http["polybatch-web"]
    assert door.parent_id == f"{CALLER.span_id:016x}"
    assert door.attributes["http.route"] == "/v1/batches"
    assert over_http["polybatch-gateway"].parent_id == door.span_id
    own = [span for span in spans if span.trace_id == TRACE]
    by_id = {span.span_id: span for span in own}
    caller = f"{CALLER.span_id:016x}"
    for span in own:
        assert span.parent_id == caller or span.parent_id in by_id, span
    assert {span.service for span in own} == SERVICES
    (creation,) = [
        span for span in own if "rpc.system" in span.attributes and is_about_a_batch(span)
    ]
    assert creation.attributes["polybatch.batch_id"] == batch.id
    assert creation.attributes["rpc.grpc.status_code"] == 0
    steps = [span for span in own if span.attributes.get("messaging.system") == "nats"]
    assert {span.name for span in steps} >= {"plan", "submit", "poll", "fetch", "assemble", "stop"}
    for step in steps:
        assert step.parent_id == creation.span_id, "all steps are siblings below the call"
        assert step.attributes["polybatch.batch_id"] == batch.id
        assert not step.failed
    for name in ("openai upload", "openai create", "anthropic create", "openai download"):
        (call,) = [span for span in own if span.name == name]
        assert by_id[call.parent_id].name in ("submit", "fetch")
        assert call.attributes["http.response.status_code"] == 200

    # The looks in between have traces of their own, which lead back to the batch's.
    looks = [
        span
        for span in spans
        if span.name == "poll" and span.attributes["polybatch.batch_id"] == batch.id
    ]
    later_looks = [look for look in looks if look.attributes["polybatch.deliveries"] > 1]
    assert later_looks
    for look in later_looks:
        assert look.trace_id != TRACE
        assert look.links == (TRACE,)
    summary, *_ = [span for span in own if span.name == "poll until done"]
    assert summary.seconds > 0.5
    assert summary.attributes["polybatch.deliveries"] > 1

    others = {
        span.trace_id for span in spans if span.attributes.get("polybatch.batch_id") == later.id
    }
    assert TRACE not in others
    for secret in (QUESTION, key, "sandbox-openai", "sandbox-anthropic", "line-3"):
        assert secret.encode() not in collector.raw


def test_nothing_of_opentelemetry_is_imported_while_tracing_is_off() -> None:
    code = (
        "import sys, services.gateway.service, services.dispatcher.service, "
        "services.collector.service\n"
        "from core.settings import TracingSettings\n"
        "from core.tracing import start_tracing\n"
        "assert start_tracing('gateway', TracingSettings()) is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    environment = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"

"""The services' part of a trace begins below the caller's own span."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from tests.integration.client.conftest import Api
from tests.support.client.batches import snapshot
from tests.support.client.fake_service import FakePolybatch

BATCH = "batch_1"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SPAN = NonRecordingSpan(
    SpanContext(
        0x4BF92F3577B34DA6A3CE929D0E0E4736,
        0x00F067AA0BA902B7,
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
)


async def use_each_kind_of_call(api: Api, fake: FakePolybatch) -> list[str | None]:
    fake.traceparents.clear()
    await api.call("submit", b"{}\n")
    await api.call("get_batch", BATCH)
    await api.items("watch", BATCH)
    return fake.traceparents


async def test_every_call_names_the_span_that_it_is_made_in(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1, "COMPLETED", succeeded=100))
    with use_span(SPAN):
        assert await use_each_kind_of_call(api, fake) == [TRACEPARENT] * 3
    assert await use_each_kind_of_call(api, fake) == [None] * 3


def test_the_client_imports_no_opentelemetry() -> None:
    code = (
        "import sys, polybatch\n"
        "from polybatch._transport.metadata import call_metadata\n"
        "assert call_metadata('pb_1') == (('authorization', 'Bearer pb_1'),)\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr

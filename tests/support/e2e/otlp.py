"""An OTLP collector of our own: takes spans over gRPC, from real processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class Span:
    """One span as it was exported."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    """Trace ids."""
    attributes: dict[str, Any]
    failed: bool
    seconds: float


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps all spans; safe for use by many threads."""

    def __init__(self) -> None:
        self.port = 0
        self.raw = b""
        self._spans: list[Span] = []
        self._changed = threading.Condition()

    def Export(self, request: Any, _context: Any) -> Any:
        with self._changed:
            self.raw += request.SerializeToString()
            self._spans += _spans(request)
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(
        self, enough: Callable[[list[Span]], bool], what: str, timeout: float = 30.0
    ) -> list[Span]:
        """Wait until the spans that have come satisfy `enough`; returns them."""
        with self._changed:
            if not self._changed.wait_for(lambda: enough(self._spans), timeout):
                names = sorted(f"{span.service}: {span.name}" for span in self._spans)
                raise AssertionError(f"waited {timeout} s for {what}; there are {names}")
            return list(self._spans)


@contextmanager
def running_collector() -> Iterator[Collector]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


def _spans(request: Any) -> Iterator[Span]:
    for resource in request.resource_spans:
        about = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    about["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    tuple(link.trace_id.hex() for link in span.links),
                    _attributes(span.attributes),
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}

"""Where spans go: to an OTLP collector over gRPC, by OpenTelemetry's own variables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from core.settings import TracingSettings
from core.tracing import spans

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger()

_FLUSH_SECONDS = 3.0


class BadTracing(Exception):
    """The variables ask for something that is not to be had here."""


class Tracing:
    """Spans being exported. Ended by `stop`."""

    def __init__(self, provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
        self._provider = provider
        self._exporter = exporter

    async def stop(self) -> None:
        """Send what is left, but let nobody wait for long for a collector that is away."""
        spans.use(None)
        ending = asyncio.create_task(asyncio.to_thread(self._provider.shutdown))
        done, _ = await asyncio.wait([ending], timeout=_FLUSH_SECONDS)
        if not done:
            log.warning("spans_lost", cause="the OTLP collector does not take them")
            self._exporter.shutdown()
        await ending


def start_tracing(service: str, settings: TracingSettings) -> Tracing | None:
    """Begin to export the spans of this process; None where tracing is off.

    Raises BadTracing. What else OpenTelemetry's variables say (headers, certificates,
    sampling, resource) is read by its SDK.
    """
    if not settings.enabled:
        return None
    if settings.protocol != "grpc":
        raise BadTracing(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {settings.protocol!r}: traces are exported over "
            "'grpc' only; unset it, and name the collector's gRPC port (usually 4317) in "
            "OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = settings.service_name or f"polybatch-{service}"
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    spans.use(provider.get_tracer("polybatch"))
    log.info("tracing_started", service_name=name)
    return Tracing(provider, exporter)

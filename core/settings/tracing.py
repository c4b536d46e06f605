"""Settings of traces, under OpenTelemetry's own names."""

from __future__ import annotations

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TracingSettings(BaseSettings):
    """What has to be known before OpenTelemetry's SDK, which reads the rest, is imported."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    endpoint: str = Field(
        default="",
        validation_alias=AliasChoices(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
    )
    """http:// or https:// URL of an OTLP collector's gRPC port; empty: no traces."""
    protocol: str = Field(
        default="grpc",
        validation_alias=AliasChoices(
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
        ),
    )
    """grpc; no other protocol is spoken."""
    exporter: str = Field(default="otlp", validation_alias="OTEL_TRACES_EXPORTER")
    """"none" turns traces off."""
    disabled: bool = Field(default=False, validation_alias="OTEL_SDK_DISABLED")
    """true turns everything of OpenTelemetry off."""
    service_name: str = Field(default="", validation_alias="OTEL_SERVICE_NAME")
    """Name of the service in traces; not set: polybatch-gateway and so on."""

    @property
    def enabled(self) -> bool:
        """Whether spans are to be exported."""
        return bool(self.endpoint) and not self.disabled and self.exporter != "none"

"""Where the services listen, and under which certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator

from core.settings.group import SettingsGroup

_MOVED_PORTS = (
    "gateway",
    "collector",
    "dispatcher",
    "sandbox",
    "gateway_metrics",
    "collector_metrics",
    "dispatcher_metrics",
)
"""In the order of their ports from port_base on; the NATS server's follows."""
_LATER_PORTS = ("web", "web_metrics")
"""Behind that of the NATS server."""
_NATS_PORT = 4222


class ListenSettings(SettingsGroup):
    """Addresses and ports"""

    port_base: int | None = Field(default=None, ge=1, le=65_535 - 9)
    """Moves all ports: ten of 127.0.0.1 from this one on, for gateway, collector, dispatcher,
    sandbox, the metrics of the first three, the embedded NATS server, the HTTP API and its
    metrics. What one of the settings below names stays there. Clients of this machine take it
    too."""
    gateway_listen: str = "127.0.0.1:50051"
    """host:port of the gateway's gRPC services: files, batches, providers, prices, keys, usage."""
    collector_listen: str = "127.0.0.1:50052"
    """host:port of the collector's gRPC services: watches and results."""
    dispatcher_listen: str = "127.0.0.1:50053"
    """host:port of the dispatcher's health, which only the supervisor asks for."""
    sandbox_listen: str = "127.0.0.1:8400"
    """host:port of the sandbox (docs/sandbox.md)."""
    web_listen: str = "127.0.0.1:8080"
    """host:port of the HTTP API (docs/http-api.md) and the dashboard (docs/dashboard.md); "off":
    the supervisor starts none."""
    web_session_secret: SecretStr | None = None
    """What the dashboard's sessions are encrypted with, at least 32 characters; the same for all
    replicas. Unset: a random one for each process, so that a session ends with it."""
    gateway_metrics_listen: str = "127.0.0.1:9551"
    """host:port that Prometheus reads the gateway's metrics from, over plain HTTP and without
    a key; "off": nowhere."""
    collector_metrics_listen: str = "127.0.0.1:9552"
    """The collector's."""
    dispatcher_metrics_listen: str = "127.0.0.1:9553"
    """The dispatcher's."""
    web_metrics_listen: str = "127.0.0.1:9554"
    """Those of the HTTP API and the dashboard."""

    @model_validator(mode="before")
    @classmethod
    def _move_ports(cls, values: Any) -> Any:
        base = str(values.get("port_base") or "")
        if not base.isdecimal():
            return values
        moved = {
            f"{name}_listen": f"127.0.0.1:{int(base) + offset}"
            for offset, name in (
                *enumerate(_MOVED_PORTS),
                *enumerate(_LATER_PORTS, len(_MOVED_PORTS) + 1),
            )
        }
        return moved | values

    @field_validator(
        "gateway_metrics_listen",
        "collector_metrics_listen",
        "dispatcher_metrics_listen",
        "web_metrics_listen",
        "web_listen",
    )
    @classmethod
    def _turn_off(cls, listen: str) -> str:
        return "" if listen == "off" else listen

    @property
    def nats_port(self) -> int:
        """Where the embedded NATS server listens if the port is free."""
        return _NATS_PORT if self.port_base is None else self.port_base + len(_MOVED_PORTS)


class TlsSettings(SettingsGroup):
    """TLS"""

    tls_cert: Path | None = None
    """PEM file of the services' certificate, followed by its intermediates; unset: no TLS
    (docs/deployment.md#tls). Read again when it changes."""
    tls_key: Path | None = None
    """PEM file of its private key."""
    tls_client_ca: Path | None = None
    """PEM file of authorities: clients have to bring a certificate of one of them."""
    tls_client_cert: Path | None = None
    """PEM file of the certificate that the supervisor brings when it asks the services for
    their health; needed where tls_client_ca is set. The variables are the client's own."""
    tls_client_key: Path | None = None
    """PEM file of its private key."""

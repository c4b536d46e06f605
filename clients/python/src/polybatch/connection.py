"""Where to connect and with which key: arguments first, then the environment, then defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from polybatch.errors import ConfigurationError

__all__ = ["CHANNEL_OPTIONS", "Connection"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_LOOPBACK = ("localhost:", "127.", "[::1]:", "unix:")

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Without it gRPC sends two pings and no more while an idle watch has no data.
    ("grpc.http2.max_pings_without_data", 0),
    # The services send up to 4 MiB; whatever they send is to be readable.
    ("grpc.max_receive_message_length", -1),
    # Retrying is done here, where an upload knows its offset and a watch its revision.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """Addresses ("host:port") and credentials of the two public services."""

    gateway: str
    collector: str
    api_key: str = field(repr=False)
    tls: bool
    """Whether to speak TLS to both."""
    tls_ca: Path | None
    """PEM file of the certificate authority; None: the system's."""

    @classmethod
    def resolve(
        cls,
        *,
        gateway: str | None = None,
        collector: str | None = None,
        api_key: str | None = None,
        api_key_file: str | os.PathLike[str] | None = None,
        tls: bool | None = None,
        tls_ca: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Connection:
        """Fills in what is not given.

        Addresses: POLYBATCH_GATEWAY and POLYBATCH_COLLECTOR, else localhost:50051 and
        localhost:50052; the schemes grpc:// and grpcs:// say whether to use TLS.
        Key: POLYBATCH_API_KEY, else the file that the embedded mode writes,
        $POLYBATCH_DATA_DIR/api-key, where the folder defaults to .polybatch.
        TLS: POLYBATCH_TLS (0 or 1), else on unless both hosts are this machine;
        POLYBATCH_TLS_CA names a CA file.

        Raises ConfigurationError where no key is found or a value makes no sense.
        """
        gateway = gateway or environ.get("POLYBATCH_GATEWAY") or "localhost:50051"
        collector = collector or environ.get("POLYBATCH_COLLECTOR") or "localhost:50052"
        ca = tls_ca or environ.get("POLYBATCH_TLS_CA") or None
        if tls is None:
            tls = _tls_setting(environ, gateway, collector)
        return cls(
            gateway=_host_and_port("gateway", gateway),
            collector=_host_and_port("collector", collector),
            api_key=_find_key(api_key, api_key_file, environ),
            tls=tls,
            tls_ca=Path(ca) if ca else None,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Returns TLS credentials, None for a connection in the clear."""
        if not self.tls:
            return None
        if self.tls_ca is None:
            return grpc.ssl_channel_credentials()
        try:
            return grpc.ssl_channel_credentials(self.tls_ca.read_bytes())
        except OSError as error:
            raise ConfigurationError(
                f"the CA file {self.tls_ca} cannot be read: {error.strerror}.",
                reason="TLS_CA_UNREADABLE",
                next_step="set POLYBATCH_TLS_CA to a PEM file.",
            ) from error


def _tls_setting(environ: Mapping[str, str], gateway: str, collector: str) -> bool:
    setting = environ.get("POLYBATCH_TLS", "").strip().lower()
    if setting in _TRUE:
        return True
    if setting in _FALSE:
        return False
    if setting:
        raise ConfigurationError(
            f"POLYBATCH_TLS is {setting!r}.",
            reason="TLS_SETTING_INVALID",
            next_step="set it to 1 or 0.",
        )
    for address in (gateway, collector):
        if address.startswith("grpcs://"):
            return True
    # A key must not cross a network in the clear unless somebody asked for that.
    return not all(address.startswith(("grpc://", *_LOOPBACK)) for address in (gateway, collector))


def _host_and_port(name: str, address: str) -> str:
    bare = address.removeprefix("grpcs://").removeprefix("grpc://").rstrip("/")
    port = bare.rpartition(":")[2]
    if bare.startswith(("unix:", "dns:", "ipv4:", "ipv6:")) or (
        port.isdigit() and "/" not in bare and len(bare) > len(port) + 1
    ):
        return bare
    raise ConfigurationError(
        f"the {name} address {address!r} is not host:port.",
        reason="ADDRESS_INVALID",
        next_step=f"give an address such as localhost:50051 (POLYBATCH_{name.upper()}).",
    )


def _find_key(
    api_key: str | None,
    api_key_file: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
) -> str:
    key = api_key
    if key is None and api_key_file is None:
        key = environ.get("POLYBATCH_API_KEY") or None
    if key is None:
        data_dir = environ.get("POLYBATCH_DATA_DIR") or ".polybatch"
        path = Path(api_key_file) if api_key_file is not None else Path(data_dir) / "api-key"
        try:
            key = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise ConfigurationError(
                f"no API key: the key file {path} {why}.",
                reason="API_KEY_MISSING",
                next_step="set POLYBATCH_API_KEY, or run this in the folder where polybatch "
                "was started (it keeps a key in .polybatch/api-key), or set POLYBATCH_DATA_DIR.",
            ) from error
    key = key.strip()
    # Metadata values are printable ASCII; gRPC itself would fail with a bare ValueError.
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigurationError(
            "the API key is empty or has characters that no key has.",
            reason="API_KEY_INVALID",
            next_step="check POLYBATCH_API_KEY or the key file.",
        )
    return key

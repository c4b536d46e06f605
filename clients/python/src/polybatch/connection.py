"""Where to connect and with which key: arguments first, then the environment, then defaults."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import grpc

from polybatch.errors import ConfigurationError

__all__ = ["Connection"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_TLS_SCHEMES = ("grpcs://", "https://")
_LAST_PORT = 65_535

_CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
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
# Where there may be several replicas: calls go by turns to all machines behind a name, and
# to none that says that it is not serving. Names are looked up again soon after a replica
# has gone, as the one that takes its place has another address in most clusters.
_REPLICA_OPTIONS: tuple[tuple[str, int | str], ...] = (
    (
        "grpc.service_config",
        json.dumps(
            {
                "loadBalancingConfig": [{"round_robin": {}}],
                "healthCheckConfig": {"serviceName": ""},
            }
        ),
    ),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """Addresses and credentials of the two public services.

    An address is "host:port", or several of them separated by commas: one for each
    replica. A name may stand for several machines; then each is used too.
    """

    gateway: str
    collector: str
    api_key: str = field(repr=False)
    tls: bool
    """Whether to speak TLS to both."""
    tls_ca: Path | None
    """PEM file of the certificate authority; None: the public ones that gRPC brings."""
    tls_client_cert: Path | None = None
    """PEM file of the caller's certificate, for services that ask for one (mutual TLS)."""
    tls_client_key: Path | None = None
    """PEM file of its private key, not encrypted."""

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
        tls_client_cert: str | os.PathLike[str] | None = None,
        tls_client_key: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Connection:
        """Fills in what is not given.

        Addresses: POLYBATCH_GATEWAY and POLYBATCH_COLLECTOR, else those that `make up` has
        left in $POLYBATCH_DATA_DIR/addresses.json while it runs, else POLYBATCH_PORT_BASE and
        the port after it, else localhost:50051 and localhost:50052; several replicas separated
        by commas. The schemes grpc:// and grpcs:// (or https://) say whether to use TLS.
        Key: POLYBATCH_API_KEY, else the file that the embedded mode writes,
        $POLYBATCH_DATA_DIR/api-key, where the folder defaults to .polybatch.
        TLS: POLYBATCH_TLS (0 or 1), else on unless both hosts are this machine: a key
        crosses a network in the clear only where that was asked for. POLYBATCH_TLS_CA
        names a CA file, POLYBATCH_TLS_CLIENT_CERT and POLYBATCH_TLS_CLIENT_KEY the
        caller's certificate for mutual TLS.

        Raises ConfigurationError where no key is found, a value makes no sense, or values
        contradict each other.
        """
        gateway = gateway or environ.get("POLYBATCH_GATEWAY")
        collector = collector or environ.get("POLYBATCH_COLLECTOR")
        if not gateway or not collector:
            found = _local_addresses(environ)
            gateway = gateway or found["gateway"]
            collector = collector or found["collector"]
        ca = tls_ca or environ.get("POLYBATCH_TLS_CA") or None
        cert = tls_client_cert or environ.get("POLYBATCH_TLS_CLIENT_CERT") or None
        key = tls_client_key or environ.get("POLYBATCH_TLS_CLIENT_KEY") or None
        if (cert is None) != (key is None):
            missing = "POLYBATCH_TLS_CLIENT_CERT" if cert is None else "POLYBATCH_TLS_CLIENT_KEY"
            raise ConfigurationError(
                f"a client certificate needs its key: {missing} is not set.",
                reason="TLS_CLIENT_CERT_INCOMPLETE",
                next_step="name both PEM files.",
            )
        tls = _tls(
            _tls_setting(environ) if tls is None else tls, *_split(gateway), *_split(collector)
        )
        return cls(
            gateway=_addresses("gateway", gateway),
            collector=_addresses("collector", collector),
            api_key=_find_key(api_key, api_key_file, environ),
            tls=tls,
            tls_ca=Path(ca) if ca else None,
            tls_client_cert=Path(cert) if cert else None,
            tls_client_key=Path(key) if key else None,
        )

    def addresses(self, server: str) -> Sequence[str]:
        """Returns the addresses of "gateway" or "collector", one for each replica."""
        return (self.gateway if server == "gateway" else self.collector).split(",")

    def channel_options(self, address: str) -> Sequence[tuple[str, int | str]]:
        """Returns gRPC's options for the channel to one of the addresses."""
        if address in (self.gateway, self.collector) and not _may_be_several(address):
            return _CHANNEL_OPTIONS
        return (*_CHANNEL_OPTIONS, *_REPLICA_OPTIONS)

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Returns TLS credentials, None for a connection in the clear."""
        if not self.tls:
            return None
        # gRPC would report files that it cannot use as a server that cannot be reached.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca = cert = key = None
        if self.tls_ca is not None:
            with _usable("POLYBATCH_TLS_CA", self.tls_ca):
                context.load_verify_locations(self.tls_ca)
                ca = self.tls_ca.read_bytes()
        if self.tls_client_cert is not None and self.tls_client_key is not None:
            with _usable("POLYBATCH_TLS_CLIENT_CERT", self.tls_client_cert):
                cert = self.tls_client_cert.read_bytes()
            with _usable("POLYBATCH_TLS_CLIENT_KEY", self.tls_client_key):
                key = self.tls_client_key.read_bytes()
                # A password, lest it asks for one at the terminal.
                context.load_cert_chain(self.tls_client_cert, self.tls_client_key, password="")
        return grpc.ssl_channel_credentials(ca, key, cert)


@contextmanager
def _usable(setting: str, path: Path) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            cause = "belongs to another certificate"
        else:
            cause = f"is no PEM file of what is asked for, or is encrypted ({error.reason})"
        raise _tls_file_error(setting, path, cause) from error
    except OSError as error:
        raise _tls_file_error(setting, path, f"cannot be read: {error.strerror}") from error


def _local_addresses(environ: Mapping[str, str]) -> dict[str, str]:
    """Where gateway and collector of this machine listen."""
    path = _data_dir(environ) / "addresses.json"
    try:
        found = json.loads(path.read_bytes())
        return {name: str(found[name]) for name in ("gateway", "collector")}
    except OSError:
        # Nothing runs from that folder, or it is somebody else's.
        pass
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"the file {path} does not hold the addresses of gateway and collector.",
            reason="ADDRESSES_UNREADABLE",
            next_step="start polybatch again, which writes it, or set POLYBATCH_GATEWAY and "
            "POLYBATCH_COLLECTOR.",
        ) from error
    base = environ.get("POLYBATCH_PORT_BASE", "").strip() or "50051"
    if not base.isdecimal() or not 0 < int(base) < _LAST_PORT:
        raise ConfigurationError(
            f"POLYBATCH_PORT_BASE is {base!r}.",
            reason="PORT_BASE_INVALID",
            next_step="set it to the first of the ports that polybatch listens on.",
        )
    return {"gateway": f"localhost:{base}", "collector": f"localhost:{int(base) + 1}"}


def operator_key_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where the embedded mode keeps the operator's key; None where POLYBATCH_API_KEY is set."""
    return None if environ.get("POLYBATCH_API_KEY") else _data_dir(environ) / "operator-key"


def _data_dir(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("POLYBATCH_DATA_DIR") or ".polybatch")


def _tls_file_error(setting: str, path: Path, cause: str) -> ConfigurationError:
    return ConfigurationError(
        f"the file {path} {cause}.",
        reason="TLS_FILE_UNUSABLE",
        next_step=f"set {setting} to the right PEM file.",
    )


def _tls_setting(environ: Mapping[str, str]) -> bool | None:
    setting = environ.get("POLYBATCH_TLS", "").strip().lower()
    if not setting:
        return None
    if setting in _TRUE | _FALSE:
        return setting in _TRUE
    raise ConfigurationError(
        f"POLYBATCH_TLS is {setting!r}.",
        reason="TLS_SETTING_INVALID",
        next_step="set it to 1 or 0.",
    )


def _tls(asked: bool | None, *addresses: str) -> bool:
    named = [address for address in addresses if address.startswith(_TLS_SCHEMES)]
    if asked is False and named:
        raise ConfigurationError(
            f"TLS is turned off, but the address {named[0]} asks for it.",
            reason="TLS_SETTING_INVALID",
            next_step="use grpc:// in the address, or leave POLYBATCH_TLS at 1.",
        )
    if asked is not None:
        return asked
    # A key must not cross a network in the clear unless somebody asked for that.
    return bool(named) or not all(
        address.startswith("grpc://") or _is_local(address) for address in addresses
    )


def _is_local(address: str) -> bool:
    """Whether it can only be this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split(addresses: str) -> list[str]:
    return [address for part in addresses.split(",") if (address := part.strip())]


def _addresses(name: str, text: str) -> str:
    # None at all is an address that makes no sense, too.
    found = _split(text) or [text]
    return ",".join(dict.fromkeys(_host_and_port(name, address) for address in found))


def _may_be_several(address: str) -> bool:
    """Whether the address is a name that more than one machine can have."""
    host = address.removeprefix("dns:").rpartition("/")[2].rpartition(":")[0]
    if address.startswith(("unix:", "ipv4:", "ipv6:")) or host == "localhost":
        return False
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return True
    return False


def _host_and_port(name: str, address: str) -> str:
    bare = address
    for scheme in ("grpc://", *_TLS_SCHEMES):
        bare = bare.removeprefix(scheme)
    bare = bare.rstrip("/")
    port = bare.rpartition(":")[2]
    if bare.startswith(("unix:", "dns:", "ipv4:", "ipv6:")) or (
        port.isdigit() and "/" not in bare and len(bare) > len(port) + 1
    ):
        return bare
    raise ConfigurationError(
        f"the {name} address {address!r} is not host:port.",
        reason="ADDRESS_INVALID",
        next_step="give an address such as localhost:50051, or several separated by commas "
        f"(POLYBATCH_{name.upper()}).",
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
        path = Path(api_key_file) if api_key_file is not None else _data_dir(environ) / "api-key"
        try:
            key = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise ConfigurationError(
                f"no API key: the key file {path} {why}.",
                reason="API_KEY_MISSING",
                next_step="set POLYBATCH_API_KEY, or run this in the folder where polybatch "
                "was started (it keeps a key in .polybatch/api-key, and the operator's beside "
                "it), or set POLYBATCH_DATA_DIR.",
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

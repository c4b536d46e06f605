"""TLS of a server: the certificate, the clients' authority, and their renewal while it runs.

Over grpc.dynamic_ssl_server_credentials; grpcio's own file watcher (certificate providers) is
not in its Python API.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import grpc
import structlog

from core.serving.process import StartupError

if TYPE_CHECKING:
    from cryptography import x509

log = structlog.get_logger()

CERT_SETTING = "POLYBATCH_TLS_CERT"
KEY_SETTING = "POLYBATCH_TLS_KEY"
CLIENT_CA_SETTING = "POLYBATCH_TLS_CLIENT_CA"

# An operator is warned so long before a certificate ends.
_RENEW_WITHIN = timedelta(days=14)

_Stamp: TypeAlias = tuple[int, int, int]


class TlsError(StartupError):
    """A file of TLS cannot be used; the message names setting, file and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. cert: the server's certificate, then its intermediates. key: its private
    key, not encrypted. client_ca: the authorities of clients' certificates, of which each
    client then has to bring one (mutual TLS); None: clients bring none.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def named(
        cls, cert: Path | None, key: Path | None, client_ca: Path | None = None
    ) -> TlsFiles | None:
        """What the settings name; None: no TLS. Raises TlsError if they name a part only."""
        if cert is None and key is None and client_ca is None:
            return None
        for setting, value in ((CERT_SETTING, cert), (KEY_SETTING, key)):
            if value is None:
                others = ((CERT_SETTING, cert), (KEY_SETTING, key), (CLIENT_CA_SETTING, client_ca))
                given = ", ".join(name for name, path in others if path is not None)
                raise TlsError(
                    f"{setting} is not set, but {given} is: TLS needs a certificate and its key"
                )
        assert cert is not None
        assert key is not None
        return cls(cert, key, client_ca)


@dataclass(frozen=True, slots=True)
class Identity:
    """The contents of TlsFiles, read and checked."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    fingerprint: str
    """SHA-256 of the certificate, in hexadecimal."""
    not_after: datetime
    names: tuple[str, ...]
    """The names and IP addresses that the certificate holds for; at least one."""

    @classmethod
    def read(cls, files: TlsFiles) -> Identity:
        """Read the files. Raises TlsError for what no client could connect with."""
        # Here and below where it is needed: a process without TLS goes without its 10 MB.
        from cryptography.hazmat.primitives import hashes

        chain = _read(files.cert, CERT_SETTING)
        certificate = _certificates(chain, files.cert, CERT_SETTING)[0]
        key = _read(files.key, KEY_SETTING)
        _check_key(certificate, key, files)
        if certificate.not_valid_after_utc <= datetime.now(UTC):
            raise TlsError(
                f"the certificate of {CERT_SETTING} ({files.cert}) ended at "
                f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it"
            )
        client_ca = None
        if files.client_ca is not None:
            client_ca = _read(files.client_ca, CLIENT_CA_SETTING)
            _certificates(client_ca, files.client_ca, CLIENT_CA_SETTING)
        return cls(
            chain=chain,
            key=key,
            client_ca=client_ca,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            not_after=certificate.not_valid_after_utc,
            names=_names(certificate, files.cert),
        )

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What a handshake of gRPC needs."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.client_ca)


class ServerTls:
    """The TLS of one server. Files that are replaced serve the next connection.

    While the new files do not fit together, as between the renewals of certificate and
    key, or cannot be read, the old contents go on.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Raises TlsError."""
        self._files = files
        self._stamps = _stamps(files)
        self.identity = Identity.read(files)
        self._trouble = ""
        self._note("tls_ready")

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that follow the files."""
        # types-grpcio does not know that None says: no change.
        fetch: Callable[[], grpc.ServerCertificateConfiguration] = self._renewed  # type: ignore[assignment]
        return grpc.dynamic_ssl_server_credentials(
            self.identity.configuration(),
            fetch,
            require_client_authentication=self._files.client_ca is not None,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, in a thread of its own; None: no change."""
        stamps = _stamps(self._files)
        if stamps == self._stamps:
            return None
        try:
            identity = Identity.read(self._files)
        except TlsError as error:
            # Not noted as seen: the next connection looks again.
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("tls_renewal_waits", cause=str(error))
            return None
        # Stamps of before the reading: what was replaced meanwhile is read once more.
        self._stamps, self._trouble = stamps, ""
        self.identity = identity
        self._note("tls_renewed")
        return identity.configuration()

    def _note(self, event: str) -> None:
        identity = self.identity
        soon = identity.not_after - datetime.now(UTC) < _RENEW_WITHIN
        write = log.warning if soon else log.info
        write(
            event,
            certificate=identity.fingerprint,
            ends=f"{identity.not_after:%Y-%m-%d %H:%M}",
            **({"next_step": f"renew {self._files.cert} before it ends"} if soon else {}),
        )


def _stamps(files: TlsFiles) -> list[_Stamp | None]:
    return [_stamp(path) for path in (files.cert, files.key, files.client_ca) if path is not None]


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        # Reading it tells what is wrong.
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{setting} ({path}) cannot be read: {error.strerror or error}") from error


def _certificates(pem: bytes, path: Path, setting: str) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TlsError(
            f"{setting} ({path}) holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        ) from error


def _check_key(certificate: x509.Certificate, pem: bytes, files: TlsFiles) -> None:
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise TlsError(
            f"the key of {KEY_SETTING} ({files.key}) is encrypted: give one that is not, "
            "readable by the service alone"
        ) from error
    except ValueError as error:
        raise TlsError(
            f"{KEY_SETTING} ({files.key}) holds no private key in PEM form "
            "(-----BEGIN PRIVATE KEY-----)"
        ) from error
    if key.public_key() != certificate.public_key():
        raise TlsError(
            f"the key of {KEY_SETTING} ({files.key}) belongs to another certificate than that of "
            f"{CERT_SETTING} ({files.cert}), whose first certificate has to be the server's own"
        )


def _names(certificate: x509.Certificate, path: Path) -> tuple[str, ...]:
    from cryptography import x509

    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        held = x509.SubjectAlternativeName([])
    names = held.get_values_for_type(x509.DNSName)
    names += map(str, held.get_values_for_type(x509.IPAddress))
    if not names:
        raise TlsError(
            f"the certificate of {CERT_SETTING} ({path}) holds for no name and no IP address "
            "(subjectAltName), so no client would take it"
        )
    return tuple(names)

"""TLS as the settings name it: of the servers, and for whoever asks them for their health."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from core.serving.process import StartupError
from core.serving.tls import Identity, TlsFiles
from core.settings import Settings

CHANNEL_OPTIONS = (
    # A fresh connection: a shared one may still be backing off from the child before.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
)


@dataclass(frozen=True, slots=True)
class ProbeTls:
    """How to reach a server whose TLS files are at hand."""

    server: TlsFiles
    client_cert: Path | None = None
    """What mutual TLS asks for; None: no certificate."""
    client_key: Path | None = None

    def channel(self, address: str) -> grpc.aio.Channel:
        """A channel to address. Raises TlsError, and OSError for the client's files."""
        credentials, options = self.credentials()
        return grpc.aio.secure_channel(address, credentials, options=options)

    def credentials(self) -> tuple[grpc.ChannelCredentials, tuple[tuple[str, int | str], ...]]:
        """Credentials that take the server's own certificate, and no other, for proof; options.

        Raises TlsError, and OSError for the client's files.
        """
        identity = Identity.read(self.server)
        credentials = grpc.ssl_channel_credentials(
            identity.chain,
            self.client_key.read_bytes() if self.client_key else None,
            self.client_cert.read_bytes() if self.client_cert else None,
        )
        # It is asked at a local address, which the certificate need not hold for.
        name = identity.names[0].replace("*", "any", 1)
        return credentials, (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", name))

    def context(self) -> ssl.SSLContext:
        """The same for HTTPS. Raises OSError, ssl.SSLError among them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.server.cert)
        # The certificate itself is the proof, whoever has signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.client_cert is not None:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context


def tls_files(settings: Settings) -> TlsFiles | None:
    """The files of the services' TLS; None: they speak in the clear. Raises TlsError."""
    return TlsFiles.named(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def probe_tls(settings: Settings) -> ProbeTls | None:
    """How the services' TLS is asked for their health; None: no TLS. Raises StartupError."""
    files = tls_files(settings)
    if files is None:
        return None
    cert, key = settings.tls_client_cert, settings.tls_client_key
    if files.client_ca is None:
        return ProbeTls(files)
    for setting, path in (
        ("POLYBATCH_TLS_CLIENT_CERT", cert),
        ("POLYBATCH_TLS_CLIENT_KEY", key),
    ):
        if path is None:
            raise StartupError(
                f"{setting} is not set: with POLYBATCH_TLS_CLIENT_CA every client brings a "
                "certificate, and so must the supervisor, which asks the services for their health"
            )
        if not path.is_file():
            raise StartupError(f"{setting} ({path}) is not a file")
    return ProbeTls(files, cert, key)

"""TLS as the settings name it."""

from __future__ import annotations

from core.serving import TlsFiles
from core.settings import Settings


def tls_files(settings: Settings) -> TlsFiles | None:
    """The files of the services' TLS; None: they speak in the clear. Raises TlsError."""
    return TlsFiles.named(settings.tls_cert, settings.tls_key, settings.tls_client_ca)

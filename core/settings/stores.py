"""Where everything is kept."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import Field

from core.settings.group import SettingsGroup
from core.settings.units import Bytes


class StoreSettings(SettingsGroup):
    """Stores"""

    data_dir: Path = Path(".polybatch")
    """Folder of SQLite's file, blobs, the embedded NATS server's store, spooled files and the
    first keys. Clients of this machine find the key and the addresses in it."""
    database_url: str = ""
    """The ledger: postgresql://user:password@host:5432/database. Unset: SQLite in the data folder
    (docs/deployment.md#stores)."""
    database_pool_size: int = Field(default=10, ge=2)
    """Connections to PostgreSQL that one process holds at the most."""
    blobs_url: str = ""
    """Contents of files: s3://bucket/prefix, gs://..., az://... or file:///... Unset: a folder in
    the data folder."""
    nats_url: str = ""
    """The bus: nats:// or tls:// URL, or several separated by commas: the nodes of one cluster.
    Unset: the embedded server that the supervisor starts."""
    nats_replicas: int | None = Field(default=None, ge=1, le=5)
    """Nodes that store the work queue. Unset: as it is; for a new queue 3 if the URL names as
    many nodes, else 1."""
    disk_reserve: Bytes = Field(default=256 * 1024 * 1024, ge=0)
    """What is left free on a local disk, so that the ledger on it can go on. Below it
    uploads are refused; running batches, which have to end, wait below the half of it. 0: none."""

    @cached_property
    def effective_database_url(self) -> str:
        """The database's URL with its default filled in."""
        if self.database_url:
            return self.database_url
        return f"sqlite:///{self.data_dir.absolute() / 'ledger.sqlite3'}"

    @cached_property
    def effective_blobs_url(self) -> str:
        """The blob store's URL with its default filled in."""
        if self.blobs_url:
            return self.blobs_url
        return (self.data_dir.absolute() / "blobs").as_uri()

    @cached_property
    def work_reserve(self) -> int:
        """The part of disk_reserve that running batches leave as well."""
        return self.disk_reserve // 2

    @cached_property
    def spool_dir(self) -> Path:
        """Where a service keeps temporary files; what a crash left there goes at the next start."""
        return self.data_dir.absolute() / "spool"

    @cached_property
    def addresses_file(self) -> Path:
        """Where the supervisor leaves the addresses of gateway and collector for clients."""
        return self.data_dir.absolute() / "addresses.json"

    @cached_property
    def api_key_file(self) -> Path:
        """Where the embedded mode keeps the first key, readable by its owner only."""
        return self.data_dir.absolute() / "api-key"

    @cached_property
    def operator_key_file(self) -> Path:
        """Where the first key of the scope "operator" lies, beside it and as private."""
        return self.data_dir.absolute() / "operator-key"

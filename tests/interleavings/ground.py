"""What all runs of one process stand on."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

from core.blobs import BlobStore
from core.ledger import Ledger
from core.ledger.database import Database
from core.providers import known_providers
from core.settings import ProviderAccess, Settings
from tests.interleavings.provider import SETTLE, TIMEOUT
from tests.support.input_files import chat, store
from tests.support.prices import file_prices

LINES = 3
PROVIDER, MODEL = "openai", "openai/gpt-4.1"


class Ground:
    """What all runs of one process stand on: a ledger's file, its first contents, and blobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ledger.sqlite3"
        self.url = f"sqlite+aiosqlite:///{self.path}"
        self.blobs = BlobStore.open((folder / "blobs").as_uri())
        self.database = Database.connect(self.url, pool_size=1)
        access: dict[str, Any] = {f"{PROVIDER}_api_key": "k"}
        self.known = known_providers(ProviderAccess.model_validate(access), Settings())
        self.likeness = self.known.open()[PROVIDER]
        self.settings = Settings(
            data_dir=folder,
            provider_timeout=TIMEOUT,
            reconcile_settle=SETTLE.total_seconds(),
            retry_limit=2,
        )
        self.file_prices = file_prices(Ledger(self.database), self.known)
        self._empty = sqlite3.connect(folder / "empty.sqlite3")
        self.batch_row: dict[str, Any] = {}
        self.file_row: dict[str, Any] = {}

    async def prepare(self) -> None:
        """Once, on any loop."""
        await self.database.migrate()
        batch, file = await store(self.blobs, [chat(n, MODEL) for n in range(LINES)])
        self.batch_row, self.file_row = batch.model_dump(), file.model_dump()
        self.beside = sqlite3.connect(self.path, isolation_level=None)
        self.beside.backup(self._empty)

    async def close(self) -> None:
        await self.database.close()
        self.beside.close()
        self._empty.close()

    def renew(self) -> None:
        """As it was at the beginning."""
        self._empty.backup(self.beside)
        shutil.rmtree(self.folder / "blobs" / "batches", ignore_errors=True)

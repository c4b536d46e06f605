from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.blobs import BlobStore
from core.ledger import Ledger


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open((tmp_path / "blobs").as_uri())


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}")
    yield opened
    await opened.close()

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.blobs import BlobStore
from core.ledger import Batch, BatchState, File, FileState, Ledger, new_id, now


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open((tmp_path / "blobs").as_uri())


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}")
    yield opened
    await opened.close()


@pytest.fixture
async def file(ledger: Ledger) -> File:
    return await ledger.files.finish_upload(
        File(
            id=new_id("file"),
            account_id="acct_1",
            upload_id="upload-1",
            state=FileState.READY,
            groups=[{"provider": "openai", "model": "openai/m", "lines": 3, "bytes": 300}],
            created_at=now(),
        )
    )


@pytest.fixture
async def batch(ledger: Ledger, file: File) -> Batch:
    moment = now()
    made = await ledger.batches.create(
        Batch(
            id=new_id("batch"),
            account_id="acct_1",
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            state=BatchState.VALIDATING,
            total=3,
            queued=3,
            created_at=moment,
            expires_at=moment + timedelta(days=1),
            due_at=moment,
        )
    )
    assert isinstance(made, Batch)
    return made

import pytest

from core.ledger import Batch, File, Ledger
from tests.support.ledger.rows import batch_row, create, file_row


@pytest.fixture
async def file(ledger: Ledger) -> File:
    return await ledger.files.finish_upload(
        file_row(
            account_id="acct_1",
            upload_id="upload-1",
            groups=[{"provider": "openai", "model": "openai/m", "lines": 3, "bytes": 300}],
        )
    )


@pytest.fixture
async def batch(ledger: Ledger, file: File) -> Batch:
    made = await create(ledger, batch_row(file, total=3, queued=3))
    return made

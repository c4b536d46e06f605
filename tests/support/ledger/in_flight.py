"""Shards that run at a provider, for tests."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.ledger import Batch, Ledger, Shard, ShardState, new_id, now
from tests.support.ledger.rows import batch_row, create, file_row, shard_row

MODEL = "gpt-4.1"
MINUTE = timedelta(minutes=1)


async def in_flight(
    ledger: Ledger,
    count: int,
    *,
    provider: str = "openai",
    credential: str = "key-1",
    due_at: datetime | None = None,
    given_up_at: datetime | None = None,
) -> list[Shard]:
    """Shards of one batch that run at a provider."""
    moment = now()
    file = await ledger.files.finish_upload(file_row(account_id="acct_1", at=moment))
    batch = await create(ledger, batch_row(file, total=count, at=moment))
    rows = [
        shard_row(
            batch,
            ordinal=number,
            provider=provider,
            model=f"{provider}/{MODEL}",
            remote_model=MODEL,
            state=ShardState.SUBMITTED,
            remote_id=f"remote_{new_id('batch')}",
            credential=credential,
            line_count=1,
            created_at=moment,
            submitted_at=moment - 10 * MINUTE,
            due_at=due_at or moment,
            given_up_at=given_up_at,
        )
        for number in range(count)
    ]
    assert isinstance(await ledger.batches.plan(batch.id, rows), Batch)
    return await ledger.shards.of_batch(batch.id)

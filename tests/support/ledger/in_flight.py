"""Shards that run at a provider, for tests."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.ledger import Batch, BatchState, File, FileState, Ledger, Shard, ShardState, new_id, now

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
    file = await ledger.files.finish_upload(
        File(
            id=new_id("file"),
            account_id="acct_1",
            upload_id=new_id("file"),
            state=FileState.READY,
            created_at=moment,
        )
    )
    batch = await ledger.batches.create(
        Batch(
            id=new_id("batch"),
            account_id="acct_1",
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            state=BatchState.VALIDATING,
            total=count,
            created_at=moment,
            expires_at=moment + timedelta(days=1),
            due_at=moment,
        )
    )
    assert isinstance(batch, Batch)
    rows = [
        Shard(
            id=new_id("shard"),
            batch_id=batch.id,
            account_id="acct_1",
            ordinal=number,
            provider=provider,
            model=f"{provider}/{MODEL}",
            remote_model=MODEL,
            endpoint=batch.endpoint,
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

"""Files, batches and shards in a ledger, as tests need them."""

from __future__ import annotations

from datetime import date, timedelta

from sqlmodel import SQLModel

from core.failpoints import Failpoint
from core.ledger import (
    Batch,
    BatchState,
    File,
    FileState,
    Ledger,
    Shard,
    ShardState,
    UsageRow,
    new_id,
    now,
)

LEASE = timedelta(minutes=5)


async def make_file(ledger: Ledger, account: str = "acct_a", upload: str = "upload-1") -> File:
    return await ledger.files.finish_upload(
        File(
            id=new_id("file"),
            account_id=account,
            upload_id=upload,
            state=FileState.READY,
            line_count=10,
            created_at=now(),
        )
    )


def new_batch(file: File, request_id: str | None = None, window: float = 86_400) -> Batch:
    moment = now()
    return Batch(
        id=new_id("batch"),
        account_id=file.account_id,
        request_id=request_id,
        request_digest="d",
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        state=BatchState.VALIDATING,
        total=10,
        queued=10,
        window_seconds=window,
        created_at=moment,
        expires_at=moment + timedelta(seconds=window),
        due_at=moment,
    )


def new_shard(batch: Batch, ordinal: int, lines: int) -> Shard:
    return Shard(
        id=new_id("shard"),
        batch_id=batch.id,
        ordinal=ordinal,
        provider="openai",
        model="openai/gpt-4.1",
        endpoint=batch.endpoint,
        state=ShardState.QUEUED,
        line_count=lines,
        created_at=now(),
        due_at=now(),
    )


async def make_batch(ledger: Ledger, *, window: float = 86_400) -> tuple[Batch, list[Shard]]:
    batch = await ledger.batches.create(new_batch(await make_file(ledger), window=window))
    assert isinstance(batch, Batch)
    planned = await ledger.batches.plan(batch.id, [new_shard(batch, 0, 6), new_shard(batch, 1, 4)])
    assert isinstance(planned, Batch)
    return planned, await ledger.shards.of_batch(batch.id)


async def intend(ledger: Ledger, shard: Shard, token: str = "t1") -> Shard:
    moved = await ledger.shards.intend(
        shard.id,
        token=token,
        remote_model="gpt-4.1",
        sent_lines=shard.line_count,
        sent_bytes=100,
        sent_sha256="00",
        rejects_prefix="",
        credential="",
        lease=LEASE,
    )
    assert isinstance(moved, Shard)
    return moved


async def reread(ledger: Ledger, shard: Shard) -> Shard:
    found = await ledger.shards.get(shard.id)
    assert found is not None
    return found


async def add_rows(ledger: Ledger, *rows: SQLModel) -> None:
    """Rows as transitions would have written them."""
    async with ledger.accounts._database.write(Failpoint.SHARD_SETTLE) as session:
        session.add_all(rows)


def usage_row(day: date, cost_nanos: int, **changes: object) -> UsageRow:
    """What one model used in one shard: a line of 10 tokens in and 2 out."""
    values = {
        "shard_id": new_id("shard"),
        "model": "openai/gpt-4.1",
        "account_id": "acct_a",
        "key_id": "key_a",
        "batch_id": "batch_a",
        "provider": "openai",
        "lines": 1,
        "input_tokens": 10,
        "output_tokens": 2,
    }
    return UsageRow(**(values | {"day": day, "cost_nanos": cost_nanos} | changes))

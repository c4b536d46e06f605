"""Files, batches and shards in a ledger, as tests need them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from sqlmodel import SQLModel

from core.failpoints import Failpoint
from core.ledger import (
    Batch,
    BatchState,
    File,
    FileState,
    Ledger,
    NoFunds,
    OverMaxCost,
    OverQuota,
    Shard,
    ShardState,
    Stale,
    UsageRow,
    new_id,
    now,
)

LEASE = timedelta(minutes=5)

Row = TypeVar("Row", Shard, Batch)


def file_row(*, at: datetime | None = None, **fields: Any) -> File:
    """A checked file that was uploaded at a moment (now); `fields` as of File."""
    defaults = {
        "id": new_id("file"),
        "account_id": "acct_1",
        "upload_id": new_id("file"),
        "state": FileState.READY,
        "created_at": at or now(),
    }
    return File(**(defaults | fields))


def batch_row(file: File, *, at: datetime | None = None, **fields: Any) -> Batch:
    """A batch of a file, made at a moment, with a day to end; `fields` as of Batch."""
    moment = at or now()
    defaults = {
        "id": new_id("batch"),
        "account_id": file.account_id,
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "state": BatchState.VALIDATING,
        "created_at": moment,
        "expires_at": moment + timedelta(days=1),
        "due_at": moment,
    }
    return Batch(**(defaults | fields))


def shard_row(batch: Batch, *, at: datetime | None = None, **fields: Any) -> Shard:
    """The first shard of a batch, planned at a moment; `fields` as of Shard."""
    moment = at or now()
    defaults = {
        "id": new_id("shard"),
        "batch_id": batch.id,
        "account_id": batch.account_id,
        "ordinal": 0,
        "provider": "openai",
        "model": "openai/gpt-4.1",
        "endpoint": batch.endpoint,
        "state": ShardState.QUEUED,
        "created_at": moment,
        "due_at": moment,
    }
    return Shard(**(defaults | fields))


async def make_file(ledger: Ledger, account: str = "acct_a", upload: str = "upload-1") -> File:
    return await ledger.files.finish_upload(
        file_row(account_id=account, upload_id=upload, line_count=10)
    )


def new_batch(file: File, request_id: str | None = None, window: float = 86_400) -> Batch:
    moment = now()
    return batch_row(
        file,
        at=moment,
        request_id=request_id,
        request_digest="d",
        total=10,
        queued=10,
        window_seconds=window,
        expires_at=moment + timedelta(seconds=window),
    )


def new_shard(batch: Batch, ordinal: int, lines: int) -> Shard:
    return shard_row(batch, ordinal=ordinal, line_count=lines)


async def create(ledger: Ledger, batch: Batch, **fields: Any) -> Batch:
    """A batch that nothing keeps from being made; `fields` as of Batches.create."""
    made = await ledger.batches.create(batch, **fields)
    assert isinstance(made, Batch)
    return made


async def make_batch(ledger: Ledger, *, window: float = 86_400) -> tuple[Batch, list[Shard]]:
    batch = await create(ledger, new_batch(await make_file(ledger), window=window))
    planned = await ledger.batches.plan(batch.id, [new_shard(batch, 0, 6), new_shard(batch, 1, 4)])
    assert isinstance(planned, Batch)
    return planned, await ledger.shards.of_batch(batch.id)


async def try_intend(
    ledger: Ledger, shard: Shard, token: str = "t1", **fields: Any
) -> Shard | Stale | OverQuota | NoFunds | OverMaxCost:
    """What comes of an intent to send a shard; `fields` as of Shards.intend."""
    defaults = {
        "remote_model": "gpt-4.1",
        "sent_lines": shard.line_count,
        "sent_bytes": 100,
        "sent_sha256": "00",
        "rejects_prefix": "",
        "credential": "",
        "lease": LEASE,
    }
    return await ledger.shards.intend(shard.id, token=token, **(defaults | fields))


async def intend(ledger: Ledger, shard: Shard, token: str = "t1", **fields: Any) -> Shard:
    """The shard, about to be sent."""
    return await try_intend(ledger, shard, token, **fields)


async def reread(ledger: Ledger, row: Row) -> Row:
    """A shard or batch as it is now."""
    found = await (ledger.shards if isinstance(row, Shard) else ledger.batches).get(row.id)
    assert found is not None
    return found  # type: ignore[return-value]


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

"""Bringing batches to their end without any provider: a test says what became of each line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from polybatch.v1.events_pb2 import WorkItem

from core.batchfile import (
    INDEX,
    LineMaker,
    LineOutcome,
    ResultWriter,
    answer_tail,
    error_json,
    iter_index,
    stream_records,
)
from core.blobs import BlobStore, StoredFile
from core.bus import Bus, Delivery
from core.failpoints import Failpoint
from core.ledger import Batch, File, Ledger, ModelSpend, Settlement, Shard, ShardState, now
from core.pipeline import Runtime
from core.settings import Settings
from services.collector.assemble import Assembler
from tests.support.publishers import EnqueuedSteps

OK = ""
Outcomes = Mapping[int, str]
"""Line number to error code, OK for a success; of lines that are not in it, OK."""


async def plan(ledger: Ledger, blobs: BlobStore, batch_id: str, shards: int = 1) -> list[Shard]:
    """Cut a batch into shards of equal size."""
    batch, file = await _with_file(ledger, batch_id)
    index = await StoredFile.open(blobs, f"{file.prefix}/index")
    records = b"".join([chunk async for chunk in stream_records(index, INDEX.size)])
    valid = [INDEX.pack(*record) for record in iter_index(records) if record.valid]
    size = -(-len(valid) // shards)
    made = []
    for ordinal, start in enumerate(range(0, len(valid), size)):
        part = valid[start : start + size]
        shard = Shard(
            id=f"shard_{batch_id.removeprefix('batch_')}{ordinal}",
            batch_id=batch_id,
            account_id=batch.account_id,
            ordinal=ordinal,
            provider="openai",
            model="m",
            endpoint=batch.endpoint,
            state=ShardState.QUEUED,
            line_count=len(part),
            created_at=now(),
            due_at=now(),
        )
        await blobs.put(shard.lines_key, b"".join(part), point=Failpoint.PLAN_LINES)
        made.append(shard)
    assert isinstance(await ledger.batches.plan(batch_id, made), Batch)
    return await ledger.shards.of_batch(batch_id)


async def settle(
    ledger: Ledger, blobs: BlobStore, shard: Shard, outcomes: Outcomes, *, nanos: int = 0
) -> None:
    """Give the lines of a shard their outcomes, each at a cost."""
    count = shard.line_count
    records = await blobs.get_range(shard.lines_key, 0, count * INDEX.size)
    prefix = f"batches/{shard.batch_id}/shards/{shard.id}/results/t"
    writer = ResultWriter(blobs, prefix, point=Failpoint.SHARD_RESULTS, segment_bytes=1 << 20)
    made = LineMaker(shard.batch_id, ["openai/m"]).line
    succeeded = 0
    for _, _, line, _, _ in iter_index(records):
        code = outcomes.get(line, OK)
        succeeded += not code
        response = (
            None if code else b'{"status_code":200,"body":{"of":"%s"}}' % (shard.batch_id.encode())
        )
        error = error_json(code, "no such luck") if code else None
        raw = made(line, f"id-{line}", 0, answer_tail(response, error, 1), nanos)
        outcome = LineOutcome.of_code(code) if code else LineOutcome.SUCCEEDED
        await writer.extend([(line, outcome, raw)])
    totals = await writer.close()
    settlement = Settlement(
        totals.succeeded,
        totals.failed,
        cancelled=totals.cancelled,
        expired=totals.expired,
        results_prefix=prefix,
        spend=[ModelSpend("openai/m", count, cost_nanos=nanos * count)],
        answered=count,
    )
    assert isinstance(await ledger.shards.settle(shard, settlement), Batch)


async def assemble(ledger: Ledger, blobs: BlobStore, batch_id: str) -> Batch:
    """Write the results, and end the batch; or merge what came late into them."""
    runtime = Runtime(
        settings=Settings(),
        ledger=ledger,
        blobs=blobs,
        bus=cast(Bus, None),
        publisher=EnqueuedSteps(),
    )
    await Assembler(runtime).handle(WorkItem(batch_id=batch_id), Delivery(1, now()))
    batch = await ledger.batches.get(batch_id)
    assert batch is not None
    assert batch.ended
    return batch


async def end(
    ledger: Ledger, blobs: BlobStore, batch_id: str, outcomes: Outcomes, *, nanos: int = 0
) -> Batch:
    """All of it."""
    for shard in await plan(ledger, blobs, batch_id):
        await settle(ledger, blobs, shard, outcomes, nanos=nanos)
    return await assemble(ledger, blobs, batch_id)


async def _with_file(ledger: Ledger, batch_id: str) -> tuple[Batch, File]:
    batch = await ledger.batches.get(batch_id)
    assert batch is not None
    file = await ledger.files.get_input(batch)
    assert file is not None
    return batch, file

"""One result file: every line once, in order, or nothing at all."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from typing import cast

import pytest
from polybatch.v1 import results_pb2
from polybatch.v1.events_pb2 import WorkItem
from sqlalchemy import update

from core.batchfile import INDEX, LineOutcome, ResultFile, ResultWriter, answer_line, error_json
from core.blobs import BlobStore, BlobUnavailable, SegmentWriter
from core.bus import Ack, Bus, Delivery
from core.failpoints import Failpoint
from core.ledger import Batch, BatchState, File, Ledger, Settlement, Shard, now
from core.pipeline import Runtime
from core.pipeline.messages import batch_message
from core.settings import Settings
from services.collector.assemble import Assembler, ResultsInconsistent
from services.collector.common_cause import CommonCause
from tests.support.ledger.rows import batch_row, create, reread, shard_row
from tests.support.publishers import NoEvents
from tests.support.stores.small_disk import no_room_for_manifest

DELIVERY = Delivery(1, now())
LINES = [
    b'{"custom_id":"%s","url":"/v1/chat/completions","body":{"model":"m","messages":[{}]}}' % name
    for name in (b"a", b"b", b"c")
]


@pytest.fixture
def assembler(ledger: Ledger, blobs: BlobStore) -> Assembler:
    return Assembler(
        Runtime(
            settings=Settings(),
            ledger=ledger,
            blobs=blobs,
            bus=cast(Bus, None),
            publisher=NoEvents(),
        )
    )


async def write(blobs: BlobStore, prefix: str, contents: bytes) -> None:
    writer = SegmentWriter(blobs, prefix, segment_bytes=1 << 20, point=Failpoint.UPLOAD_DATA)
    await writer.write(contents)
    await writer.close()


async def store_input(blobs: BlobStore, file: File) -> bytes:
    records = b""
    offset = 0
    for number, line in enumerate(LINES, 1):
        records += INDEX.pack(offset, len(line), number, 0, 0)
        offset += len(line) + 1
    await write(blobs, f"{file.prefix}/data", b"\n".join(LINES) + b"\n")
    await write(blobs, f"{file.prefix}/index", records)
    return records


async def add_shards(
    ledger: Ledger, blobs: BlobStore, batch: Batch, records: bytes, shares: Sequence[Sequence[int]]
) -> list[Shard]:
    shards = []
    for ordinal, share in enumerate(shares):
        shard = shard_row(
            batch, id=f"shard_{ordinal}", ordinal=ordinal, model="m", line_count=len(share)
        )
        size = INDEX.size
        lines = b"".join(records[(line - 1) * size : line * size] for line in share)
        await blobs.put(shard.lines_key, lines, point=Failpoint.UPLOAD_DATA)
        shards.append(shard)
    assert isinstance(await ledger.batches.plan(batch.id, shards), Batch)
    return await ledger.shards.of_batch(batch.id)


async def settle_with(ledger: Ledger, blobs: BlobStore, shard: Shard, lines: Sequence[int]) -> None:
    prefix = f"batches/{shard.batch_id}/shards/{shard.id}/results/t"
    writer = ResultWriter(blobs, prefix, segment_bytes=1 << 20, point=Failpoint.UPLOAD_DATA)
    for line in lines:
        await writer.append(line, b'{"n":%d}' % line, succeeded=True)
    await writer.close()
    settlement = Settlement(shard.line_count, 0, results_prefix=prefix)
    assert isinstance(await ledger.shards.settle(shard, settlement), Batch)


async def test_results_of_all_kinds_are_merged(
    ledger: Ledger, blobs: BlobStore, batch: Batch, file: File, assembler: Assembler
) -> None:
    records = await store_input(blobs, file)
    first, second = await add_shards(ledger, blobs, batch, records, [[1, 3], [2]])
    await settle_with(ledger, blobs, first, [1, 3])
    fill = Settlement(0, 1, fill_code="model_not_found", fill_message="no such model")
    await ledger.shards.settle(second, fill)
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()
    ended = await reread(ledger, batch)
    assert (ended.state, ended.succeeded, ended.failed) == (BatchState.COMPLETED, 2, 1)
    results = await ResultFile.open(blobs, ended.results_prefix)
    raw = b"".join([chunk async for chunk in results.stream()])
    found = [json.loads(line) for line in raw.splitlines()]
    assert (found[0], found[2]) == ({"n": 1}, {"n": 3})
    assert (found[1]["custom_id"], found[1]["model"]) == ("b", "openai/m")
    assert found[1]["error"]["code"] == "model_not_found"
    manifest = results_pb2.Manifest.FromString(await blobs.get(f"{ended.results_prefix}/manifest"))
    assert manifest.results_bytes == len(raw)
    assert [shard.failed for shard in manifest.shards] == [0, 1]
    assert await blobs.list(f"batches/{batch.id}/shards") == [], "interim results are gone"
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()


async def test_what_dead_assemblers_left_is_deleted(
    ledger: Ledger, blobs: BlobStore, batch: Batch, file: File, assembler: Assembler
) -> None:
    records = await store_input(blobs, file)
    first, second = await add_shards(ledger, blobs, batch, records, [[1, 3], [2]])
    await settle_with(ledger, blobs, first, [1, 3])
    await settle_with(ledger, blobs, second, [2])
    left = f"batches/{batch.id}/results/dead/data/{0:020d}"
    await blobs.put(left, b"half a copy", point=Failpoint.BATCH_RESULTS)
    item = WorkItem(batch_id=batch.id)
    assert await assembler.handle(item, DELIVERY) == Ack()
    assert not await blobs.exists(left)
    kept = await blobs.list(f"batches/{batch.id}")
    assert kept
    # As if it had died behind the end, before it cleaned up: the item comes once more.
    await blobs.put(left, b"half a copy", point=Failpoint.BATCH_RESULTS)
    await blobs.put(first.lines_key, b"a list", point=Failpoint.PLAN_LINES)
    assert await assembler.handle(item, Delivery(2, now())) == Ack()
    assert await blobs.list(f"batches/{batch.id}") == kept


@pytest.mark.parametrize("shares", [[[1, 2, 3]], [[1, 3], [2]]])
async def test_what_found_no_room_leaves_nothing(
    ledger: Ledger,
    blobs: BlobStore,
    batch: Batch,
    file: File,
    assembler: Assembler,
    shares: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = await store_input(blobs, file)
    for shard, share in zip(
        await add_shards(ledger, blobs, batch, records, shares), shares, strict=True
    ):
        await settle_with(ledger, blobs, shard, share)
    with monkeypatch.context() as patch:
        patch.setattr("core.blobs.folder.require_headroom", no_room_for_manifest)
        with pytest.raises(BlobUnavailable):
            await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY)
    assert await blobs.list(f"batches/{batch.id}/results") == []
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()
    assert (await reread(ledger, batch)).succeeded == 3


@pytest.mark.parametrize("answered", [[1], [1, 2, 3], [2, 3]])
async def test_lines_lost_or_doubled_are_never_handed_out(
    ledger: Ledger,
    blobs: BlobStore,
    batch: Batch,
    file: File,
    assembler: Assembler,
    answered: list[int],
) -> None:
    records = await store_input(blobs, file)
    first, second = await add_shards(ledger, blobs, batch, records, [[1, 3], [2]])
    await settle_with(ledger, blobs, first, answered)
    await settle_with(ledger, blobs, second, [2])
    with pytest.raises(ResultsInconsistent):
        await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY)
    unfinished = await reread(ledger, batch)
    assert unfinished.state == BatchState.FINALIZING


@pytest.mark.parametrize("answered", [[1], [1, 2], [1, 3], [2, 3]])
async def test_lines_that_one_shard_lost_are_never_handed_out(
    ledger: Ledger,
    blobs: BlobStore,
    batch: Batch,
    file: File,
    assembler: Assembler,
    answered: list[int],
) -> None:
    records = await store_input(blobs, file)
    [shard] = await add_shards(ledger, blobs, batch, records, [[1, 2, 3]])
    await settle_with(ledger, blobs, shard, answered)
    with pytest.raises(ResultsInconsistent):
        await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY)
    assert (await reread(ledger, batch)).state == BatchState.FINALIZING


@pytest.mark.parametrize("shares", [[[1, 2, 3]], [[1, 3], [2]]])
async def test_results_of_one_shard_are_as_those_of_many(
    ledger: Ledger,
    blobs: BlobStore,
    batch: Batch,
    file: File,
    assembler: Assembler,
    shares: list[list[int]],
) -> None:
    records = await store_input(blobs, file)
    for shard, share in zip(
        await add_shards(ledger, blobs, batch, records, shares), shares, strict=True
    ):
        await settle_with(ledger, blobs, shard, share)
    shards = await ledger.shards.of_batch(batch.id)
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()
    ended = await reread(ledger, batch)
    assert (ended.state, ended.succeeded, ended.failed) == (BatchState.COMPLETED, 3, 0)
    results = await ResultFile.open(blobs, ended.results_prefix)
    found = [line async for group in results.lines() for line in group]
    assert [line[1:] for line in found] == [(n, 1, b'{"n":%d}\n' % n) for n in (1, 2, 3)]
    raw = b"".join([line.raw for line in found])
    manifest = results_pb2.Manifest.FromString(await blobs.get(f"{ended.results_prefix}/manifest"))
    assert manifest.results_sha256 == hashlib.sha256(raw).hexdigest()
    assert (manifest.results_bytes, manifest.request_counts.succeeded) == (len(raw), 3)
    revisions = array("I", await blobs.get(f"{ended.results_prefix}/settled/{0:020d}"))
    of_line = {
        line: each.settled_revision
        for each, share in zip(shards, shares, strict=True)
        for line in share
    }
    assert list(revisions) == [of_line[line] for line in (1, 2, 3)]
    assert await blobs.list(f"batches/{batch.id}/shards") == []


@pytest.mark.parametrize("lenient", [False, True])
async def test_what_the_check_at_upload_refused_depends_on_the_batch(
    ledger: Ledger,
    blobs: BlobStore,
    batch: Batch,
    file: File,
    assembler: Assembler,
    lenient: bool,
) -> None:
    """Line 2 is bad for strict batches only, line 3 for all; both have two problems."""
    records = await store_input(blobs, file)
    report = [
        {"line": 2, "custom_id": "b", "field": "body.n", "lenient": True},
        {"line": 2, "custom_id": "b", "field": "body.top_k", "lenient": True},
        {"line": 3, "custom_id": "c", "field": "body.n", "lenient": True},
        {"line": 3, "custom_id": "c", "field": "body.stop", "lenient": False},
    ]
    common = {"reason": "unsupported", "message": "no", "severity": "error"}
    rows = b"".join(json.dumps(problem | common).encode() + b"\n" for problem in report)
    await write(blobs, f"{file.prefix}/report", rows)
    invalid = 1 if lenient else 2
    made = await create(
        ledger,
        batch_row(file, id="batch_bad", total=3, invalid=invalid, lenient_translation=lenient),
    )
    sent = [1, 2] if lenient else [1]
    [shard] = await add_shards(ledger, blobs, made, records, [sent])
    await settle_with(ledger, blobs, shard, sent)
    assert await assembler.handle(WorkItem(batch_id=made.id), DELIVERY) == Ack()
    ended = await reread(ledger, made)
    assert (ended.succeeded, ended.failed) == (len(sent), invalid)
    results = await ResultFile.open(blobs, ended.results_prefix)
    found = [json.loads(each.raw) async for group in results.lines() for each in group]
    blamed = [line["error"]["message"].partition(":")[0] for line in found if "error" in line]
    assert blamed == (["body.stop"] if lenient else ["body.n", "body.n"])
    assert all("model" not in line for line in found if "error" in line)


async def test_cancelled_lines_are_counted_apart(
    ledger: Ledger, blobs: BlobStore, batch: Batch, file: File, assembler: Assembler
) -> None:
    records = await store_input(blobs, file)
    first, second, _ = await add_shards(ledger, blobs, batch, records, [[1], [2], [3]])
    await settle_with(ledger, blobs, first, [1])
    await ledger.shards.settle(second, Settlement.filled(1, "model_not_found", "no such model"))
    await ledger.batches.cancel(batch.id)
    stopped = await ledger.batches.settle_queued(batch.id)
    assert isinstance(stopped, Batch)
    assert (stopped.succeeded, stopped.failed, stopped.cancelled) == (1, 2, 1)
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()
    ended = await reread(ledger, batch)
    assert (ended.state, ended.failed, ended.cancelled) == (BatchState.CANCELLED, 2, 1)
    shown = batch_message(ended, []).request_counts
    assert (shown.total, shown.succeeded, shown.failed, shown.cancelled) == (3, 1, 1, 1)
    manifest = results_pb2.Manifest.FromString(await blobs.get(f"{ended.results_prefix}/manifest"))
    assert manifest.request_counts == shown
    assert [(each.failed, each.cancelled) for each in manifest.shards] == [(0, 0), (1, 0), (0, 1)]
    results = await ResultFile.open(blobs, ended.results_prefix)
    assert (await results.totals(succeeded=False))[1] == 2, "the filter has both"
    assert ended.common_cause is None


async def test_what_every_line_failed_for_is_said_of_the_batch(
    ledger: Ledger, blobs: BlobStore, batch: Batch, file: File, assembler: Assembler
) -> None:
    records = await store_input(blobs, file)
    for shard in await add_shards(ledger, blobs, batch, records, [[1, 3], [2]]):
        fill = Settlement.filled(shard.line_count, "invalid_api_key", "no such key")
        await ledger.shards.settle(shard, fill)
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()
    ended = await reread(ledger, batch)
    assert ended.common_cause == {"code": "invalid_api_key", "message": "no such key"}
    assert batch_message(ended, []).common_cause.code == "invalid_api_key"


async def test_a_batch_says_how_many_lines_its_max_cost_kept_back(
    ledger: Ledger, blobs: BlobStore, batch: Batch, file: File, assembler: Assembler
) -> None:
    async with ledger._database.write(Failpoint.BATCH_CREATE) as session:
        await session.exec(update(Batch).values(max_cost_nanos=1_500_000))
    records = await store_input(blobs, file)
    first, second, third = await add_shards(ledger, blobs, batch, records, [[1], [2], [3]])
    await settle_with(ledger, blobs, first, [1])
    await ledger.shards.settle(second, Settlement.filled(1, "cost_limit", "too dear"))
    await ledger.shards.settle(third, Settlement.filled(1, "invalid_request", "no"))
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()
    ended = await reread(ledger, batch)
    assert (ended.state, ended.common_cause) == (BatchState.COMPLETED, None)
    [error] = batch_message(ended, []).errors
    assert (error.code, error.message) == (
        "cost_limit",
        "1 line was not sent: the batch's max cost of 0.0015 USD could have been passed",
    )


async def test_a_halted_batch_completes_and_says_how_many_lines_were_not_sent(
    ledger: Ledger, blobs: BlobStore, batch: Batch, file: File, assembler: Assembler
) -> None:
    why = "20 of the 20 lines that had their outcome failed"
    records = await store_input(blobs, file)
    first, second, third = await add_shards(ledger, blobs, batch, records, [[1], [2], [3]])
    async with ledger._database.write(Failpoint.BATCH_CREATE) as session:
        await session.exec(update(Batch).values(halt_code="failure_limit", halt_message=why))
    halted = await ledger.batches.get(batch.id)
    assert halted is not None
    assert batch_message(halted, []).waiting_reason.startswith(f"failure_limit: {why}")
    await settle_with(ledger, blobs, first, [1])
    for shard in (second, third):
        fill = Settlement.filled(1, "failure_limit", f"It was not sent: {why}.", withheld=True)
        await ledger.shards.settle(shard, fill)
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()
    ended = await ledger.batches.get(batch.id)
    assert ended is not None
    assert (ended.state, ended.common_cause) == (BatchState.COMPLETED, None)
    shown = batch_message(ended, [])
    [error] = shown.errors
    assert (error.code, error.message) == ("failure_limit", f"2 lines were not sent: {why}")
    assert not shown.waiting_reason


async def test_a_window_that_closes_says_what_the_lines_waited_for(
    ledger: Ledger, blobs: BlobStore, batch: Batch, file: File, assembler: Assembler
) -> None:
    records = await store_input(blobs, file)
    (shard,) = await add_shards(ledger, blobs, batch, records, [[1, 2, 3]])
    await ledger.shards.wait_for_quota(shard, "openai refuses its key", now())
    async with ledger._database.write(Failpoint.BATCH_CLOSE_WINDOW) as session:
        await session.exec(update(Batch).values(expires_at=now()))
    await ledger.batches.close_window(batch.id)
    await ledger.batches.settle_queued(batch.id)
    assert await assembler.handle(WorkItem(batch_id=batch.id), DELIVERY) == Ack()
    ended = await reread(ledger, batch)
    assert (ended.state, ended.failed, ended.expired) == (BatchState.EXPIRED, 3, 3)
    assert ended.common_cause is not None
    assert ended.common_cause["code"] == "batch_expired"
    assert "openai refuses its key" in ended.common_cause["message"]


def failed(line: int, code: str, message: str) -> tuple[int, int, bytes]:
    raw = answer_line("batch_1", line, "a", None, error_json(code, message))
    return line, LineOutcome.FAILED, raw


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([failed(1, "x", "one"), (2, LineOutcome.SUCCEEDED, b"{}")], None),
        ([failed(1, "x", "one"), failed(2, "y", "one")], None),
        ([failed(1, "x", " "), failed(2, "x", "")], "The provider gave no reason."),
        ([failed(4, "x", "limit 7"), failed(5, "x", "limit 8")], "limit 7 (so line 4;"),
        ([], None),
    ],
)
def test_only_one_code_for_all_lines_is_a_common_cause(
    lines: list[tuple[int, int, bytes]], found: str | None
) -> None:
    cause = CommonCause()
    for line in lines:
        cause.add([line])
    said = cause.found
    assert said is None if found is None else said and said["message"].startswith(found)

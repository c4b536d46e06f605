"""Lines that a provider names by their place in what was sent, told as the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from core.batchfile import INDEX, ResultFile, ResultWriter
from core.blobs import BlobStore, SegmentWriter
from core.failpoints import Failpoint
from core.ledger import Batch, File, Ledger
from core.pipeline import EventPublisher, Runtime, Settler
from core.providers import BadLine, Refused
from core.settings import Settings
from services.collector.bad_lines import BadLineIsolation
from tests.support.ledger.rows import shard_row


class Silent:
    """Announces nothing."""

    async def changed(self, *_: Any) -> None: ...

    async def enqueue(self, *_: Any) -> None: ...


async def test_messages_name_the_users_lines(
    ledger: Ledger, blobs: BlobStore, batch: Batch, file: File, tmp_path: Path
) -> None:
    numbers = [4, 9, 10, 30]
    data, records = b"", b""
    for number in numbers:
        line = json.dumps(
            {"custom_id": f"c{number}", "url": "/v1/chat/completions", "body": {"model": "m"}}
        ).encode()
        records += INDEX.pack(len(data), len(line), number, 0, 0)
        data += line + b"\n"
    writer = SegmentWriter(
        blobs, f"{file.prefix}/data", segment_bytes=1000, point=Failpoint.UPLOAD_DATA
    )
    await writer.write(data)
    await writer.close()
    # Line 9 was not sent: it could not be put into the provider's form.
    rejects = ResultWriter(blobs, "rejects", segment_bytes=1000, point=Failpoint.SHARD_REJECTS)
    await rejects.append(9, b"{}", succeeded=False)
    await rejects.close()
    shard = shard_row(
        batch,
        id="shard_1",
        model="openai/m",
        line_count=len(numbers),
        byte_count=len(data),
        rejects_prefix="rejects",
    )
    await blobs.put(shard.lines_key, records, point=Failpoint.PLAN_LINES)
    await ledger.batches.plan(batch.id, [shard])
    publisher = cast("EventPublisher", Silent())
    runtime = Runtime(Settings(data_dir=tmp_path), ledger, blobs, cast("Any", None), publisher)
    refusal = Refused(
        "duplicate_custom_id",
        "The ids of lines 2 and 3 are the same.",
        transient=False,
        bad_lines=(
            BadLine(
                3, "duplicate_custom_id", "custom_id", "The ids of lines 2 and 3 are the same."
            ),
            BadLine(7, "invalid_request", "", "There is no line 7."),
        ),
    )
    assert refusal.message == "The ids of some lines are the same."
    [fresh] = await ledger.shards.of_batch(batch.id)
    assert await BadLineIsolation(runtime, Settler(runtime)).leave_out(fresh, file, refusal)
    settled, rest = await ledger.shards.of_batch(batch.id)
    assert (settled.failed, rest.line_count) == (1, 3)
    results = await ResultFile.open(blobs, settled.results_prefix)
    [failure] = [found async for group in results.lines() for found in group]
    assert failure.line == 30
    assert json.loads(failure.raw)["error"] == {
        "code": "duplicate_custom_id",
        "message": "custom_id: The ids of lines 10 and 30 are the same.",
    }

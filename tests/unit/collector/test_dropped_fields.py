"""What a lenient translation left out, asked line by line."""

from __future__ import annotations

import msgspec
import pytest

from core.batchfile import Request, ResultWriter
from core.blobs import BlobStore
from core.failpoints import Failpoint
from services.collector.dropped_fields import DroppedFields

REQUEST = Request("a", "/v1/chat/completions", msgspec.Raw(b"{}"))


async def store(blobs: BlobStore, lines: list[int]) -> None:
    writer = ResultWriter(blobs, "left", segment_bytes=1000, point=Failpoint.UPLOAD_DATA)
    for line in lines:
        await writer.append(line, b'["body.%d"]' % line, succeeded=True)
    await writer.close()


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ([], [1, 2]),
        ([2, 3, 7], [1, 2, 3, 4, 7, 8]),
        ([2, 3, 7], [7]),
        ([2, 3, 7], [1, 4, 9]),
        (list(range(1, 500, 2)), list(range(1, 510))),
    ],
)
async def test_lists_belong_to_their_lines(
    blobs: BlobStore, stored: list[int], asked: list[int]
) -> None:
    await store(blobs, stored)
    async with DroppedFields(blobs, "left") as left_out:
        found = {line: await left_out.of(line, "", REQUEST) for line in asked}
    assert found == {line: b'["body.%d"]' % line if line in stored else None for line in asked}


async def test_nothing_was_left_out(blobs: BlobStore) -> None:
    async with DroppedFields(blobs, "never/written") as left_out:
        assert await left_out.of(1, "", REQUEST) is None

"""Reports: written as JSONL, read back, merged by line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batchfile import Problem, read_report
from core.batchfile.problems import encode_report, merge_problems
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint


async def test_a_report_is_jsonl_in_the_published_form(store: BlobStore) -> None:
    problems = [
        Problem(1, "é", "body.model", "missing_field", 'say "what"\n', lenient=True),
        Problem(2, "", "", "byte_order_mark", "none", "warning"),
    ]
    contents = encode_report(problems)
    assert [json.loads(line) for line in contents.splitlines()] == [
        {
            "line": 1,
            "custom_id": "é",
            "field": "body.model",
            "reason": "missing_field",
            "message": 'say "what"\n',
            "severity": "error",
            "lenient": True,
        },
        {
            "line": 2,
            "custom_id": "",
            "field": "",
            "reason": "byte_order_mark",
            "message": "none",
            "severity": "warning",
            "lenient": False,
        },
    ]
    assert contents.endswith(b"\n")


@pytest.mark.long
async def test_a_report_comes_back_whatever_its_segments(store: BlobStore) -> None:
    problems = [Problem(n, "x" * (n % 50), "f", "r", "m" * (n % 30)) for n in range(1, 500)]
    contents = encode_report(problems)
    for number, segment_bytes in enumerate((50, 1000, 1 << 20)):
        writer = SegmentWriter(
            store, f"r{number}", segment_bytes=segment_bytes, point=Failpoint.UPLOAD_DATA
        )
        for at in range(0, len(contents), 37 * segment_bytes):
            await writer.write(contents[at : at + 37 * segment_bytes])
        await writer.close()
        report = await StoredFile.open(store, f"r{number}")
        assert [p async for group in read_report(report) for p in group] == problems


groups_of_lines = st.lists(st.lists(st.integers(1, 20), max_size=4), max_size=6).map(
    lambda groups: _sorted_in_groups(groups)
)


def _sorted_in_groups(groups: list[list[int]]) -> list[list[int]]:
    flat = iter(sorted(line for group in groups for line in group))
    return [[next(flat) for _ in group] for group in groups]


@given(groups_of_lines, groups_of_lines)
def test_merging_keeps_line_order_and_the_first_stream_first(
    left: list[list[int]], right: list[list[int]]
) -> None:
    async def stream(groups: list[list[int]], name: str) -> AsyncGenerator[list[Problem], None]:
        for group in groups:
            yield [Problem(line, name, "", "", "") for line in group]

    async def merged() -> list[tuple[int, str]]:
        both = merge_problems(stream(left, "left"), stream(right, "right"))
        return [(p.line, p.custom_id) async for group in both for p in group]

    expected = [(line, "left") for group in left for line in group]
    expected += [(line, "right") for group in right for line in group]
    assert asyncio.run(merged()) == sorted(expected)

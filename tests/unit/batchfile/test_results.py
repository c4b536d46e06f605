"""Result files: written in line order, read whole, from a record on, or by outcome."""

from __future__ import annotations

import asyncio
import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from core.batchfile import (
    LineMaker,
    ResultFile,
    ResultLine,
    ResultWriter,
    add_cost,
    answer_line,
    answer_tail,
    cost_of,
)
from core.blobs import BlobStore
from core.failpoints import Failpoint
from tests.fuzz.budget import examples

Lines = list[tuple[int, bytes, bool]]


async def written(store: BlobStore, lines: Lines, *, segment_bytes: int = 1000) -> ResultFile:
    writer = ResultWriter(store, "r", segment_bytes=segment_bytes, point=Failpoint.UPLOAD_DATA)
    for line, raw, succeeded in lines:
        await writer.append(line, raw, succeeded=succeeded)
    totals = await writer.close()
    whole = b"".join(raw + b"\n" for _, raw, _ in lines)
    assert totals.bytes == len(whole)
    assert totals.sha256 == hashlib.sha256(whole).hexdigest()
    assert totals.lines == len(lines)
    results = await ResultFile.open(store, "r")
    assert (results.size, results.line_count) == (len(whole), len(lines))
    for outcome, count in ((True, totals.succeeded), (False, totals.failed)):
        sizes = [len(raw) + 1 for _, raw, succeeded in lines if succeeded == outcome]
        assert count == len(sizes)
        assert await results.totals(succeeded=outcome) == (sum(sizes), count)
    return results


@settings(max_examples=examples(80), deadline=None)
@given(
    outcomes=st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(1, 3)), max_size=20),
    chunk_bytes=st.integers(1, 50),
    segment_bytes=st.integers(1, 100),
    offset=st.integers(0, 400),
    first=st.integers(0, 22),
    succeeded=st.sampled_from([None, True, False]),
)
def test_any_reading_of_any_results(
    outcomes: list[tuple[bool, int, int]],
    chunk_bytes: int,
    segment_bytes: int,
    offset: int,
    first: int,
    succeeded: bool | None,
) -> None:
    lines: Lines = []
    line = 0
    for outcome, size, step in outcomes:
        line += step
        lines.append((line, json.dumps([line, "x" * size]).encode(), outcome))
    wanted = [
        ResultLine(number, line, outcome, raw + b"\n")
        for number, (line, raw, outcome) in enumerate(lines)
        if succeeded in (None, outcome)
    ]

    async def check() -> None:
        store = BlobStore(MemoryStore(), None)
        results = await written(store, lines, segment_bytes=segment_bytes)
        groups = [
            group
            async for group in results.lines(first, succeeded=succeeded, span_bytes=chunk_bytes)
        ]
        assert [found for group in groups for found in group] == [
            found for found in wanted if found.number >= first
        ]
        stream = results.stream(offset, succeeded=succeeded, chunk_bytes=chunk_bytes)
        chunks = [chunk async for chunk in stream]
        assert b"".join(chunks) == b"".join(found.raw for found in wanted)[offset:]
        assert all(0 < len(chunk) <= chunk_bytes for chunk in chunks)

    asyncio.run(check())


async def test_many_lines_over_many_segments(store: BlobStore) -> None:
    lines = [(n, b'{"n":%d}' % n, n % 3 != 0) for n in range(1, 30_001)]
    results = await written(store, lines, segment_bytes=100_000)
    failed = [line async for group in results.lines(succeeded=False) for line in group]
    assert [line.line for line in failed] == list(range(3, 30_001, 3))
    page = [line async for group in results.lines(29_990, succeeded=False) for line in group]
    assert [line.number for line in page] == [29_990, 29_993, 29_996, 29_999]


async def test_lines_out_of_order_are_refused(store: BlobStore) -> None:
    writer = ResultWriter(store, "r", segment_bytes=1000, point=Failpoint.UPLOAD_DATA)
    await writer.append(2, b"{}", succeeded=True)
    for line in (2, 1):
        with pytest.raises(ValueError, match="after that of line 2"):
            await writer.append(line, b"{}", succeeded=True)
    await writer.abandon()


async def test_a_second_writer_replaces_the_results(store: BlobStore) -> None:
    await written(store, [(n, b"x" * 50, True) for n in range(1, 100)], segment_bytes=64)
    results = await written(store, [(1, b"y", False)])
    assert [chunk async for chunk in results.stream()] == [b"y\n"]


async def test_no_results(store: BlobStore) -> None:
    results = await written(store, [])
    assert [group async for group in results.lines()] == []
    assert [chunk async for chunk in results.stream(5, succeeded=True)] == []


nanos = st.none() | st.integers(0, 10**18)


def read(line: bytes) -> Any:
    return json.loads(line, parse_float=Decimal)["cost"]


@given(first=nanos, second=nanos)
def test_a_cost_is_an_exact_decimal_number(first: int | None, second: int | None) -> None:
    tail = answer_tail(b'{"body":{"usage":{"tokens":1,"cost":0.5}}}', None, 1)
    line = LineMaker("b", ["m"]).line(1, "c", 0, tail, first).rstrip()
    told = read(line)
    assert (None if told is None else told * 10**9) == first
    assert b"e" not in line[line.rindex(b":") :].lower().replace(b"null", b"")
    assert cost_of(line) == cost_of(line + b"\n") == first
    total = None if first is None or second is None else first + second
    assert cost_of(add_cost(line + b"\n", second)) == total


@given(nanos, st.text(), st.sampled_from(["", "openai/m"]), st.sampled_from([None, b'["body.n"]']))
def test_a_line_has_what_it_was_made_of(
    cost: int | None, custom_id: str, model: str, dropped: bytes | None
) -> None:
    tail = answer_tail(b"{}", None, 2)
    line = LineMaker("b", ["other", model]).line(7, custom_id, 1, tail, cost, dropped)
    assert line.count(b"\n") == 1
    assert cost_of(line) == cost
    members = json.loads(line)
    del members["cost"]
    assert members == {
        "id": "b-7",
        "custom_id": custom_id,
        **({"model": model} if model else {}),
        **({"dropped": ["body.n"]} if dropped else {}),
        "response": {},
        "error": None,
        "attempts": 2,
    }


def test_costs_of_lines_that_were_not_run_and_of_before_costs_were_kept() -> None:
    assert read(answer_line("b", 1, "c", None, b"{}")) == 0
    old = b'{"id":"b-1","response":{"body":{"usage":{"n":1,"cost":0.5}}},"attempts":1}\n'
    assert cost_of(old) == 0
    assert add_cost(old, 5) == old
    assert cost_of(b'{"response":null,"attempts":1,"cost":0.000000001}') == 1

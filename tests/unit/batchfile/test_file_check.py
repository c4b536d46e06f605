"""A whole check: what lies in the store when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.batchfile import (
    SHOWN_PROBLEMS,
    CheckedFile,
    FileChecker,
    Group,
    Problem,
    Rules,
    TooManyLines,
    iter_index,
    read_report,
)
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint

MakeLine = Callable[..., bytes]


async def check(
    store: BlobStore,
    rules: Rules,
    data: bytes,
    *,
    chunk_bytes: int = 1 << 20,
    segment_bytes: int = 1000,
) -> CheckedFile:
    stored = SegmentWriter(store, "f/data", segment_bytes=1000, point=Failpoint.UPLOAD_DATA)
    checker = FileChecker(
        store, "f", rules, max_line_bytes=10_000, max_lines=100_000, segment_bytes=segment_bytes
    )
    for start in range(0, len(data), chunk_bytes):
        chunk = data[start : start + chunk_bytes]
        await stored.write(chunk)
        await checker.feed(chunk)
    await stored.close()
    return await checker.finish(await StoredFile.open(store, "f/data"))


async def report_of(store: BlobStore) -> list[Problem]:
    report = await StoredFile.open(store, "f/report")
    return [problem async for group in read_report(report) for problem in group]


async def index_of(store: BlobStore) -> bytes:
    index = await StoredFile.open(store, "f/index")
    return await index.read(0, index.size)


async def test_a_good_file(store: BlobStore, rules: Rules, chat: MakeLine) -> None:
    lines = [chat(f"id-{n}") for n in range(200)]
    data = b"\n".join(lines)
    checked = await check(store, rules, data, chunk_bytes=777)
    assert checked == CheckedFile(
        endpoint="/v1/chat/completions",
        bytes=len(data),
        line_count=200,
        invalid_count=0,
        lenient_count=0,
        groups=[Group("openai", "openai/gpt-4.1", 200, sum(map(len, lines)))],
        problem_count=0,
        problems=[],
    )
    assert await report_of(store) == []
    records = list(iter_index(await index_of(store)))
    assert [data[r.offset : r.offset + r.length] for r in records] == lines


async def test_duplicates_are_marked_and_reported_in_line_order(
    store: BlobStore, rules: Rules, chat: MakeLine
) -> None:
    lines = [
        chat("a"),
        chat("b", method="GET"),
        chat("a"),
        b"nonsense",
        chat("b"),
        chat("a", body={"model": "gpt-4.1"}),
        chat("é" * 10),
        chat("é" * 10, method="GET"),
        chat("last", method="GET"),
    ]
    checked = await check(store, rules, b"\r\n".join(lines), chunk_bytes=64)
    report = await report_of(store)
    assert [(p.line, p.custom_id, p.reason) for p in report] == [
        (2, "b", "unsupported_method"),
        (3, "a", "duplicate_custom_id"),
        (4, "", "invalid_json"),
        (5, "b", "duplicate_custom_id"),
        (6, "a", "duplicate_custom_id"),
        (8, "é" * 10, "unsupported_method"),
        (8, "é" * 10, "duplicate_custom_id"),
        (9, "last", "unsupported_method"),
    ]
    assert "first in line 1;" in report[1].message
    assert "first in line 2;" in report[3].message
    assert checked.problems == report
    assert checked.problem_count == 8
    assert (checked.line_count, checked.invalid_count) == (9, 7)
    records = list(iter_index(await index_of(store)))
    assert [r.line for r in records if r.valid] == [1, 7]
    assert [(g.model, g.lines) for g in checked.groups] == [("openai/gpt-4.1", 2), ("gpt-4.1", 0)]
    assert checked.groups[0].bytes == len(lines[0]) + len(lines[6])
    assert {key.split("/")[1] for key, _ in await store.list("f")} == {"data", "index", "report"}


async def test_two_thousand_duplicates_among_bad_lines(
    store: BlobStore, rules: Rules, chat: MakeLine
) -> None:
    pair = chat("same") + b"\n" + chat("same", method="GET") + b"\n"
    checked = await check(store, rules, pair * 1000, segment_bytes=40_000)
    report = await report_of(store)
    assert len(report) == checked.problem_count == 1999 + 1000
    assert [p.line for p in report] == sorted(p.line for p in report)
    assert checked.problems == report[:SHOWN_PROBLEMS]
    assert checked.invalid_count == 1999
    assert [(g.lines, g.bytes) for g in checked.groups] == [(1, len(chat("same")))]


async def test_warnings_are_reported_but_not_counted(
    store: BlobStore, rules: Rules, chat: MakeLine
) -> None:
    data = chat("a", extra=1) + b"\n" + chat("b", method="GET")
    checked = await check(store, rules, data)
    assert [p.severity for p in await report_of(store)] == ["warning", "error"]
    assert checked.problem_count == 1
    assert [p.line for p in checked.problems] == [2]


async def test_an_empty_file(store: BlobStore, rules: Rules) -> None:
    checked = await check(store, rules, b"")
    assert (checked.line_count, checked.endpoint, checked.groups) == (0, "", [])
    assert await index_of(store) == b""


async def test_a_check_that_is_given_up_leaves_nothing(
    store: BlobStore, rules: Rules, chat: MakeLine
) -> None:
    checker = FileChecker(
        store, "f", rules, max_line_bytes=10_000, max_lines=1000, segment_bytes=100
    )
    await checker.feed(b"\n".join(chat(str(n), method="GET") for n in range(50)))
    assert await store.list("f")
    await checker.abandon()
    assert await store.list("f") == []


async def test_a_check_after_a_crash_comes_out_the_same(
    store: BlobStore, rules: Rules, chat: MakeLine
) -> None:
    data = b"\n".join(chat(str(n % 40), method="PUT" if n % 7 else "POST") for n in range(60))
    crashed = FileChecker(store, "f", rules, max_line_bytes=9999, max_lines=99, segment_bytes=100)
    await crashed.feed(data[:5000])
    first = await check(store, rules, data)
    stored = [(key, await store.get(key)) for key, _ in await store.list("f")]
    assert {key.split("/")[1] for key, _ in stored} == {"data", "index", "report"}
    second = FileChecker(store, "f", rules, max_line_bytes=9999, max_lines=99, segment_bytes=1000)
    for at in range(0, len(data), 100):
        await second.feed(data[at : at + 100])
    assert await second.finish(await StoredFile.open(store, "f/data")) == first
    assert [(key, await store.get(key)) for key, _ in await store.list("f")] == stored


@pytest.mark.long
async def test_a_reader_of_a_finished_file_is_not_disturbed_by_a_late_checker(
    store: BlobStore, rules: Rules, chat: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"\n".join(chat(str(n % 90)) for n in range(100))
    await check(store, rules, data, segment_bytes=100)
    index, report = await index_of(store), await report_of(store)
    put = BlobStore.put
    puts = 0

    async def looking(self: BlobStore, key: str, *args: Any, **options: Any) -> None:
        nonlocal puts
        await put(self, key, *args, **options)
        puts += 1
        assert await index_of(store) == index
        assert await report_of(store) == report

    late = FileChecker(store, "f", rules, max_line_bytes=9999, max_lines=999, segment_bytes=100)
    monkeypatch.setattr(BlobStore, "put", looking)
    await late.feed(data)
    await late.finish(await StoredFile.open(store, "f/data"))
    assert puts > 20


async def test_many_short_lines_in_one_chunk(store: BlobStore, rules: Rules) -> None:
    checked = await check(store, rules, b"x\n" * 30_000, segment_bytes=1 << 20)
    assert checked.line_count == checked.problem_count == 30_000


async def test_too_many_lines(store: BlobStore, rules: Rules) -> None:
    checker = FileChecker(store, "f", rules, max_line_bytes=100, max_lines=5, segment_bytes=1000)
    with pytest.raises(TooManyLines):
        await checker.feed(b"{}\n" * 6)
    await checker.abandon()

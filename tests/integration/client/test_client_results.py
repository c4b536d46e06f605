"""Results and files: typed lines, downloads that are resumed, checked, and whole or absent."""

from __future__ import annotations

import asyncio
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from polybatch import (
    Conflict,
    DataError,
    InternalError,
    LineFailed,
    NotFound,
    ResultFilter,
    ResultLine,
)
from polybatch.v1 import results_pb2

from tests.integration.client.conftest import Api
from tests.support.client.batches import result_line, snapshot
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault

BATCH = "batch_1"


@pytest.fixture
def lines(fake: FakePolybatch) -> list[dict[str, object]]:
    """200 results, every tenth failed, one of them longer than many chunks."""
    made = [
        result_line(number, failed=number % 10 == 0, text="ä" * (20_000 if number == 7 else 5))
        for number in range(200)
    ]
    fake.results[BATCH] = b"".join(json.dumps(line).encode() + b"\n" for line in made)
    return made


@pytest.mark.parametrize("chunk_bytes", [1, 777, 1_000_000])
async def test_results_are_typed_lines(
    api: Api, fake: FakePolybatch, lines: list[dict[str, object]], chunk_bytes: int
) -> None:
    if chunk_bytes == 1:
        fake.results[BATCH] = b"".join(fake.results[BATCH].splitlines(keepends=True)[:3])
        lines = lines[:3]
    fake.chunk_bytes = chunk_bytes
    got = await api.items("results", BATCH)
    assert [json.loads(line.raw) for line in got] == lines
    assert [line.ok for line in got] == [line["error"] is None for line in lines]
    assert got[1].custom_id == "request-1"
    assert got[1].text == "äääää"
    assert got[1].response.status_code == 200
    assert got[0].response is None
    assert got[0].error.code == "batch_expired"
    assert got[0].text is None


async def test_results_go_on_where_they_broke(
    api: Api, fake: FakePolybatch, lines: list[dict[str, object]]
) -> None:
    fake.faults["DownloadResults"] += [
        Fault(after_bytes=5_000),
        Fault(),
        Fault(after_bytes=3_000, end_with_ok=True),
        Fault(end_with_ok=True),
        Fault(grpc.StatusCode.INTERNAL, after_bytes=10_000),
    ]
    got = await api.items("results", BATCH)
    assert [json.loads(line.raw) for line in got] == lines
    offsets = [request.offset for name, request in fake.calls if name == "DownloadResults"]
    assert offsets == [0, 5_000, 5_000, 8_000, 8_000, 18_000]


@pytest.mark.parametrize("which", [ResultFilter.SUCCEEDED, ResultFilter.FAILED])
async def test_filtered_results(
    api: Api, fake: FakePolybatch, lines: list[dict[str, object]], which: ResultFilter
) -> None:
    fake.faults["DownloadResults"].append(Fault(after_bytes=1_000))
    got = await api.items("results", BATCH, filter=which)
    assert {line.ok for line in got} == {which is ResultFilter.SUCCEEDED}
    assert len(got) == (180 if which is ResultFilter.SUCCEEDED else 20)


async def test_leaving_the_results_cancels_the_call(
    api: Api, fake: FakePolybatch, lines: list[dict[str, object]]
) -> None:
    fake.results[BATCH] *= 500
    fake.chunk_bytes = 100_000
    assert len(await api.items("results", BATCH, first=3)) == 3
    assert await asyncio.to_thread(fake.cancelled.wait, 10)


async def test_manifest(api: Api, fake: FakePolybatch, lines: list[dict[str, object]]) -> None:
    manifest = await api.call("manifest", BATCH)
    assert manifest.batch_id == BATCH
    assert manifest.results_bytes == len(fake.results[BATCH])
    fake.results["batch_empty"] = b""
    assert (await api.call("manifest", "batch_empty")).results_bytes == 0
    assert await api.items("results", "batch_empty") == []


async def test_download_is_whole_and_checked(
    api: Api, fake: FakePolybatch, lines: list[dict[str, object]], tmp_path: Path
) -> None:
    fake.faults["DownloadResults"].append(Fault(after_bytes=5_000))
    target = tmp_path / "results.jsonl"
    target.write_text("what was there before")
    seen: list[tuple[int, int | None]] = []
    manifest = await api.call(
        "download_results", BATCH, target, progress=lambda *now: seen.append(now)
    )
    assert target.read_bytes() == fake.results[BATCH]
    assert manifest.results_bytes == target.stat().st_size
    assert seen[-1] == (manifest.results_bytes, manifest.results_bytes)
    assert os.listdir(tmp_path) == ["results.jsonl"]


async def test_download_that_fails_leaves_nothing_behind(
    api: Api, fake: FakePolybatch, lines: list[dict[str, object]], tmp_path: Path
) -> None:
    target = tmp_path / "results.jsonl"
    target.write_text("what was there before")
    fake.faults["DownloadResults"] += [
        Fault(after_bytes=5_000),
        *(Fault(grpc.StatusCode.INTERNAL, reason="INTERNAL") for _ in range(4)),
    ]
    with pytest.raises(InternalError):
        await api.call("download_results", BATCH, target)
    assert os.listdir(tmp_path) == ["results.jsonl"]
    fake.results_digest[BATCH] = "0" * 64
    with pytest.raises(DataError) as caught:
        await api.call("download_results", BATCH, target)
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert os.listdir(tmp_path) == ["results.jsonl"]
    assert target.read_text() == "what was there before"
    # The digest is that of the unfiltered file: a filtered one has nothing to compare.
    await api.call("download_results", BATCH, target, filter=ResultFilter.FAILED)
    assert len(target.read_bytes().splitlines()) == 20


async def test_download_does_not_replace_a_device(
    api: Api, fake: FakePolybatch, lines: list[dict[str, object]], tmp_path: Path
) -> None:
    with pytest.raises(FileExistsError):
        await api.call("download_results", BATCH, tmp_path)
    assert os.listdir(tmp_path) == []


async def test_results_before_the_end(api: Api, fake: FakePolybatch) -> None:
    with pytest.raises(Conflict) as caught:
        await api.items("results", "batch_running")
    assert caught.value.reason == "BATCH_NOT_ENDED"
    assert caught.value.next_step


async def test_failures_turn_the_pages(api: Api, fake: FakePolybatch) -> None:
    fake.failures[BATCH] = [
        results_pb2.LineFailure(line=n, custom_id=f"c{n}", code="batch_expired", status_code=429)
        for n in range(1, 26)
    ]
    got = await api.items("failures", BATCH, page_size=10)
    assert [failure.line for failure in got] == list(range(1, 26))
    assert got[0].status_code == 429
    assert fake.count("ListFailures") == 3


async def test_failures_by_cause(api: Api, fake: FakePolybatch) -> None:
    fake.failures[BATCH] = [
        results_pb2.LineFailure(line=n, code="invalid_value", cause_id="odd" if n % 2 else "even")
        for n in range(1, 6)
    ]
    cause = results_pb2.FailureCause(
        id="odd", code="invalid_value", line_count=3, share=0.6, first_lines=[1, 3], hint="Mend it."
    )
    fake.failure_causes[BATCH] = results_pb2.ListFailureCausesResponse(
        causes=[cause], failure_count=5, other_line_count=2
    )
    got = await api.items("failures", BATCH, cause_id="odd")
    assert [failure.line for failure in got] == [1, 3, 5]
    assert got[0].cause_id == "odd"
    found = await api.call("failure_causes", BATCH)
    assert (found.failure_count, found.other_line_count) == (5, 2)
    (only,) = found.causes
    assert (only.id, only.line_count, only.share, only.first_lines) == ("odd", 3, 0.6, (1, 3))


async def test_batches_and_results_are_deleted(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1, "COMPLETED", failed=1))
    changed = await api.call("delete_results", BATCH, filter=ResultFilter.FAILED)
    assert (changed.failed_results_deleted, changed.succeeded_results_deleted) == (True, False)
    assert await api.call("delete_batch", BATCH) is None
    assert BATCH not in fake.batches
    assert [fake.count(name) for name in ("DeleteResults", "DeleteBatch")] == [1, 1]


async def test_files(api: Api, fake: FakePolybatch, tmp_path: Path) -> None:
    content = b'{"custom_id": "a"}\n' * 1000
    first = await api.call("upload", content, filename="first.jsonl")
    second = await api.call("upload", b"{}\n")
    assert [file.id for file in await api.items("files.list", page_size=1)] == [
        second.id,
        first.id,
    ]
    got = await api.call("files.get", first.id)
    assert got == first
    assert got.models[0].model == "openai/gpt-4.1"
    fake.faults["DownloadFile"] += [Fault(after_bytes=5_000)] * 2
    target = tmp_path / "copy.jsonl"
    await api.call("files.download", first.id, target)
    assert target.read_bytes() == content
    assert b"".join(await api.items("files.chunks", first.id)) == content
    fake.contents[first.id] = content.replace(b"a", b"b")
    with pytest.raises(DataError):
        await api.call("files.download", first.id, target)
    assert target.read_bytes() == content
    await api.call("files.delete", first.id)
    with pytest.raises(NotFound):
        await api.call("files.get", first.id)
    with pytest.raises(NotFound):
        await api.call("files.delete", first.id)


async def test_delete_whose_reply_was_lost_has_succeeded(api: Api, fake: FakePolybatch) -> None:
    file = await api.call("upload", b"{}\n")
    fake.faults["DeleteFile"].append(Fault(after_work=True))
    await api.call("files.delete", file.id)
    assert fake.count("DeleteFile") == 2


@pytest.mark.parametrize(
    ("cost", "usd"),
    [
        (b"0.000000001", Decimal("0.000000001")),
        (b"123456789.987654321", Decimal("123456789.987654321")),
        (b"0", Decimal(0)),
        (b"null", None),
    ],
)
def test_the_cost_of_a_line_is_exact(cost: bytes, usd: Decimal | None) -> None:
    body = b'{"custom_id":"a","response":{"status_code":200,"body":{"usage":{"n":1,"cost":9}}}'
    assert ResultLine.parse(b'%b,"error":null,"attempts":1,"cost":%b}' % (body, cost)).cost == usd
    assert ResultLine.parse(b'%b,"error":null,"attempts":1}' % body).cost is None


def test_embedding_and_odd_responses() -> None:
    body = {"data": [{"embedding": [0.25, -1.5], "index": 0}], "usage": {"total_tokens": 3}}
    line = ResultLine.parse(
        json.dumps(
            {
                "custom_id": "a",
                "response": {"status_code": 200, "request_id": None, "body": body},
                "error": None,
            }
        ).encode()
    )
    assert line.ok
    assert line.embedding == [0.25, -1.5]
    assert line.text is None
    refused = ResultLine.parse(
        b'{"custom_id": "a", "response": {"status_code": 400, "body": {"error": {}}},'
        b' "error": {"code": "invalid_request", "message": "no"}}'
    )
    assert not refused.ok
    assert refused.embedding is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}, "a"),
        ({"choices": [{"text": "a"}]}, "a"),
        (
            {
                "object": "response",
                "output": [
                    {"type": "reasoning", "summary": []},
                    {
                        "type": "message",
                        "content": [
                            {"type": "output_text", "text": "a"},
                            {"type": "refusal", "refusal": "x"},
                            {"type": "output_text", "text": "b"},
                        ],
                    },
                ],
            },
            "ab",
        ),
        (
            {
                "type": "message",
                "content": [{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "a"}],
            },
            "a",
        ),
        (
            {
                "candidates": [
                    {"content": {"parts": [{"text": "x", "thought": True}, {"text": "a"}]}}
                ]
            },
            "a",
        ),
        ({"object": "response", "output": ["odd", {"type": "message", "content": 7}]}, None),
        ({"results": [{"flagged": False}]}, None),
    ],
)
def test_the_text_of_an_answer_of_any_endpoint(body: dict[str, Any], text: str | None) -> None:
    line = {"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}
    assert ResultLine.parse(json.dumps(line).encode()).text == text


@pytest.mark.parametrize(
    ("response", "error", "code", "message"),
    [
        (None, {"code": "batch_expired", "message": "too late"}, "batch_expired", "too late"),
        (None, {"code": "odd", "message": ""}, "odd", "the line failed (odd) and nothing says why"),
        (None, None, "unknown_error", "the line failed (unknown_error) and nothing says why"),
        ((400, {"error": {"code": "bad", "message": "no"}}), None, "bad", "no"),
        ((429, {"type": "error", "error": {"type": "rate", "message": "no"}}), None, "rate", "no"),
        ((400, {"error": {"code": 400, "status": "ODD", "message": "no"}}), None, "ODD", "no"),
        ((404, {"error": "no such model"}), None, "http_404", "no such model"),
        ((400, {"object": "error", "message": "no", "type": "Bad"}), None, "Bad", "no"),
        (
            (422, {"detail": [{"loc": ["n"]}]}),
            None,
            "http_422",
            '[{"loc": ["n"]}]',
        ),
        (
            (503, None),
            None,
            "http_503",
            "the provider answered with HTTP status 503 and no message",
        ),
    ],
)
def test_every_failed_line_says_why(
    response: tuple[int, Any] | None, error: dict[str, str] | None, code: str, message: str
) -> None:
    answer = response and {"status_code": response[0], "body": response[1]}
    raw = json.dumps({"custom_id": "a", "response": answer, "error": error}).encode()
    line = ResultLine.parse(raw)
    assert (line.ok, line.error_code, line.error_message) == (False, code, message)
    with pytest.raises(LineFailed) as caught:
        line.raise_for_status()
    assert (caught.value.custom_id, caught.value.reason) == ("a", code)
    assert caught.value.status_code == (response[0] if response else 0)


def test_a_line_that_succeeded_has_no_error() -> None:
    line = ResultLine.parse(json.dumps(result_line(1)).encode())
    assert (line.error_code, line.error_message) == (None, None)
    assert line.raise_for_status() is line


@pytest.mark.parametrize("raw", [b"not json", b"[]", b"{}", b'{"custom_id": "a", "response": 3}'])
def test_line_that_is_none(raw: bytes) -> None:
    with pytest.raises(DataError):
        ResultLine.parse(raw)

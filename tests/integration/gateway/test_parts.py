"""Uploads in parts: in any order, each whole or not at all, on any replica, and nothing left."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import grpc
import pytest
from polybatch.v1 import files_pb2

from core.blobs.store import Draft
from core.ledger import Files, LedgerUnavailable
from tests.support.gateway.running import (
    FINISH,
    SEGMENT,
    Caller,
    Gateway,
    StartGateway,
    cut,
    lines,
    refused,
)
from tests.support.stores.files import files_below

UPLOAD = "upload-of-parts"


async def begin(caller: Caller, upload_id: str = UPLOAD) -> files_pb2.UploadStatus:
    return await caller.files.BeginUpload(
        files_pb2.BeginUploadRequest(upload_id=upload_id), metadata=caller.metadata
    )


def part_messages(name: str, content: bytes) -> list[files_pb2.UploadFileRequest]:
    spec = files_pb2.UploadSpec(upload_id=name, part_of=UPLOAD)
    chunks = [files_pb2.UploadFileRequest(chunk=each) for each in cut(content, 50_000)]
    return [files_pb2.UploadFileRequest(spec=spec), *chunks]


def part_stream(caller: Caller, name: str, content: bytes, *, whole: bool = True) -> Any:
    messages = [*part_messages(name, content), *([FINISH] if whole else [])]
    return caller.files.UploadFile(iter(messages), metadata=caller.metadata)


def put_together(caller: Caller, names: list[str], **spec: Any) -> Any:
    asked = files_pb2.UploadSpec(upload_id=UPLOAD, filename="whole.jsonl", **spec)
    messages = [files_pb2.UploadFileRequest(spec=asked)]
    messages += [files_pb2.UploadFileRequest(part=name) for name in names]
    return caller.files.UploadFile(iter([*messages, FINISH]), metadata=caller.metadata)


def delete(caller: Caller) -> Any:
    request = files_pb2.DeleteUploadRequest(upload_id=UPLOAD)
    return caller.files.DeleteUpload(request, metadata=caller.metadata)


def stored(gateway: Gateway) -> list[str]:
    return list(map(str, files_below(gateway.settings.data_dir / "blobs")))


async def test_parts_on_two_replicas_become_one_file(start_gateway: StartGateway) -> None:
    one, two = await start_gateway(), await start_gateway()
    content = lines(900, size=400)
    third = len(content) // 3 + 11
    pieces = [content[:third], content[third : 2 * third], content[2 * third :]]
    await begin(one)
    assert not (await begin(one)).complete
    for gateway, number in ((two, 2), (one, 0), (two, 1)):
        await part_stream(gateway, f"part-no-{number}", pieces[number])
    names = [f"part-no-{number}" for number in range(3)]
    expected = {
        "expected_bytes": len(content),
        "expected_md5": hashlib.md5(content).hexdigest().upper(),
    }
    answer = await put_together(two, names, **expected)
    assert (answer.file.line_count, answer.file.invalid_line_count) == (900, 0)
    assert answer.file.sha256 == hashlib.sha256(content).hexdigest()
    assert await one.download(answer.file.id) == content
    assert not [path for path in stored(one) if "part-no" in path]
    # Again, as after a lost answer.
    assert (await put_together(one, names, **expected)).file.id == answer.file.id
    assert (await begin(one)).file_id == answer.file.id
    late = await refused(part_stream(one, "part-no-9", b"x"))
    assert (late.code, late.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_FINISHED")
    assert (await refused(delete(one))).metadata["file_id"] == answer.file.id


async def test_a_part_is_whole_or_not_there(gateway: Gateway) -> None:
    content = lines(400, size=400)
    nobody = await refused(part_stream(gateway, "part-no-1", content))
    assert (nobody.code, nobody.reason) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
    await begin(gateway)
    broken = await refused(part_stream(gateway, "part-no-1", content, whole=False))
    assert broken.reason == "UPLOAD_UNFINISHED"
    assert stored(gateway) == []
    missing = await refused(put_together(gateway, ["part-no-1"], discard_unfinished=True))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "PART_NOT_FOUND")
    await begin(gateway)
    await part_stream(gateway, "part-no-1", content)
    # The same again takes its place.
    await part_stream(gateway, "part-no-1", content[:SEGMENT])
    answer = await put_together(gateway, ["part-no-1"])
    assert answer.file.bytes == SEGMENT


async def test_a_part_that_is_sent_again_outlives_the_stream_that_broke(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway learns of the break late, when the part is here already."""
    content = lines(40, size=9_000)
    discard_upload, discarded = Files.discard_upload, asyncio.Event()
    commit, committed = Draft.commit, asyncio.Event()

    async def committing(self: Draft, *args: Any, **how: Any) -> None:
        await commit(self, *args, **how)
        committed.set()

    async def noted(self: Files, *args: Any) -> bool:
        found = await discard_upload(self, *args)
        discarded.set()
        return found

    await begin(gateway)
    first = gateway.files.UploadFile(metadata=gateway.metadata)
    monkeypatch.setattr(Draft, "commit", committing)
    for message in part_messages("part-no-1", content)[:3]:
        await first.write(message)
    async with asyncio.timeout(10):
        await committed.wait()
    await part_stream(gateway, "part-no-1", content)
    monkeypatch.setattr(Files, "discard_upload", noted)
    first.cancel()
    async with asyncio.timeout(10):
        await discarded.wait()
    answer = await put_together(gateway, ["part-no-1"])
    assert await gateway.download(answer.file.id) == content


async def test_an_end_that_the_ledger_does_not_take_is_no_part(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be said to be here, and not be found when all are put together."""
    content = lines(2)
    await begin(gateway)
    end_upload = Files.end_upload

    async def away(*_asked: object) -> bool:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(Files, "end_upload", away)
    failure = await refused(part_stream(gateway, "part-no-1", content))
    assert failure.code == grpc.StatusCode.UNAVAILABLE
    monkeypatch.setattr(Files, "end_upload", end_upload)
    await part_stream(gateway, "part-no-1", content)
    answer = await put_together(gateway, ["part-no-1"])
    assert await gateway.download(answer.file.id) == content


async def test_what_is_not_as_expected_makes_no_file(gateway: Gateway) -> None:
    content = lines(3)
    await begin(gateway)
    for expected in ({"expected_bytes": 7}, {"expected_md5": "0" * 32}):
        await part_stream(gateway, "part-no-1", content)
        failure = await refused(put_together(gateway, ["part-no-1"], **expected))
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "CONTENT_MISMATCH",
        )
    # It goes on all the same, and the parts are still there.
    assert (await put_together(gateway, ["part-no-1"])).file.line_count == 3


@pytest.mark.parametrize("begun", [True, False])
async def test_a_deleted_upload_leaves_nothing(gateway: Gateway, begun: bool) -> None:
    stranger = await gateway.another_account()
    if begun:
        await begin(gateway)
        for number in range(2):
            await part_stream(gateway, f"part-no-{number}", lines(2))
        assert (await refused(delete(stranger))).reason == "UPLOAD_NOT_FOUND"
        await delete(gateway)
    assert (await refused(delete(gateway))).reason == "UPLOAD_NOT_FOUND"
    assert (await refused(put_together(gateway, ["part-no-0"]))).reason == "PART_NOT_FOUND"
    assert stored(gateway) == []


async def test_ids_that_are_none(gateway: Gateway) -> None:
    for upload_id in ("", "short", "x" * 65, "up.load-1", "../upload"):
        assert (await refused(begin(gateway, upload_id))).reason == "MALFORMED_STREAM"
    await begin(gateway)
    for name in ("", "short", "a.b.c.d.e"):
        assert (await refused(part_stream(gateway, name, b"x"))).reason == "MALFORMED_STREAM"

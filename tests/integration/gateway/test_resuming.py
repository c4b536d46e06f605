"""Uploads that break and go on: at any byte, after any crash, on any replica."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import grpc
import pytest
from polybatch.v1 import files_pb2

from core.batchfile import CheckedFile, FileChecker
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint
from core.ledger import Ledger, now
from tests.support.gateway.running import (
    FINISH,
    SEGMENT,
    Caller,
    Failure,
    Gateway,
    MakeSettings,
    StartGateway,
    line,
    lines,
    refused,
    running_gateway,
)
from tests.support.stores.files import files_below

UPLOAD = "upload-1"


def spec(offset: int = 0) -> files_pb2.UploadFileRequest:
    return files_pb2.UploadFileRequest(
        spec=files_pb2.UploadSpec(upload_id=UPLOAD, write_offset=offset)
    )


def chunk(data: bytes) -> files_pb2.UploadFileRequest:
    return files_pb2.UploadFileRequest(chunk=data)


async def committed_at_least(caller: Caller, size: int) -> int:
    """Ask until so much is committed."""
    async with asyncio.timeout(20):
        committed = await caller.committed(UPLOAD)
        while committed < size:
            committed = await caller.committed(UPLOAD)
    return committed


async def broken_off(gateway: Gateway, content: bytes, *, offset: int, until: int) -> None:
    """Send content[offset:until] and end the stream there; all of it is committed then."""
    call = gateway.stream()
    await call.write(spec(offset))
    for start in range(offset, until, 16 * 1024):
        await call.write(chunk(content[start : min(start + 16 * 1024, until)]))
    await call.done_writing()
    failure = await refused(call)
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_UNFINISHED")
    assert await gateway.committed(UPLOAD) == until


async def test_a_stream_that_merely_ends_was_broken_off(gateway: Gateway) -> None:
    content = lines(100)
    await broken_off(gateway, content, offset=0, until=len(content))
    status = await gateway.status(UPLOAD)
    assert (status.upload_id, status.complete, status.file_id) == (UPLOAD, False, "")
    assert (await gateway.upload(content, upload_id=UPLOAD, offset=len(content))).file.line_count


async def test_a_client_that_vanishes_leaves_what_came(gateway: Gateway) -> None:
    content = lines(700, size=400)
    call = gateway.stream()
    await call.write(spec())
    await call.write(chunk(content[:SEGMENT]))
    await committed_at_least(gateway, SEGMENT)
    await call.write(chunk(content[SEGMENT : SEGMENT + 100]))
    call.cancel()
    # The hundred bytes may have come before the cancel, or not.
    committed = await committed_at_least(gateway, SEGMENT)
    file = await resumed_in_the_end(gateway, content, committed)
    assert file.sha256 == hashlib.sha256(content).hexdigest()


async def resumed_in_the_end(gateway: Gateway, content: bytes, offset: int) -> files_pb2.File:
    """Resume as a client does: where the gateway says, as long as that changes."""
    while True:
        try:
            return (await gateway.upload(content, upload_id=UPLOAD, offset=offset)).file
        except grpc.aio.AioRpcError as error:
            if Failure(error).reason not in ("WRITE_OFFSET_MISMATCH", "UPLOAD_CONFLICT"):
                raise
            offset = await gateway.committed(UPLOAD)


@pytest.mark.long
async def test_resuming_at_each_segment_on_a_new_gateway_each_time(
    make_settings: MakeSettings,
) -> None:
    # Bad lines and a duplicate on both sides of the breaks: index and report are rebuilt.
    rows = lines(900, size=400).splitlines(keepends=True)
    rows[5] = b"[]\n"
    rows[890] = line("id-7", size=399) + b"\n"
    rows[700] = b"not json\n"
    content = b"".join(rows)
    segments = len(content) // SEGMENT
    assert segments > 4
    offset = 0
    for number in range(1, segments + 1):
        async with running_gateway(make_settings(), ["openai"]) as gateway:
            assert await gateway.committed(UPLOAD) == offset
            await broken_off(gateway, content, offset=offset, until=number * SEGMENT)
            offset = number * SEGMENT
    async with running_gateway(make_settings(), ["openai"]) as gateway:
        resumed = await gateway.upload(content, upload_id=UPLOAD, offset=offset)
        whole = await gateway.upload(content, upload_id="in-one-go")
        assert resumed.problems == whole.problems
        assert [problem.line for problem in resumed.problems] == [6, 701, 891]
        assert resumed.file.sha256 == hashlib.sha256(content).hexdigest()
        for field in ("bytes", "line_count", "invalid_line_count", "problem_count", "models"):
            assert getattr(resumed.file, field) == getattr(whole.file, field)
        assert await gateway.download(resumed.file.id) == content
        assert await gateway.report(resumed.file.id) == await gateway.report(whole.file.id)
        account = (await gateway.ledger.accounts.list_keys())[0][0].account_id
        for kind in ("index", "report"):
            one, other = [
                b"".join(
                    [
                        await gateway.blobs.get(key)
                        for key, _ in await gateway.blobs.list(f"files/{account}/{upload}/{kind}")
                    ]
                )
                for upload in (UPLOAD, "in-one-go")
            ]
            assert one == other


async def test_bad_lines_are_told_while_the_rest_comes(start_gateway: StartGateway) -> None:
    """By any replica, and after the stream broke."""
    first, second = await start_gateway(), await start_gateway()
    rows = lines(900, size=400).splitlines(keepends=True)
    rows[3] = b"[]\n"
    rows[700] = b"not json\n"
    content = b"".join(rows)
    call = first.stream()
    await call.write(spec())
    await call.write(chunk(content[:SEGMENT]))
    await committed_at_least(second, SEGMENT)
    async with asyncio.timeout(20):
        while not (status := await second.status(UPLOAD)).problem_count:
            pass
    assert [(each.line, each.field) for each in status.problems] == [(4, "")]
    assert not status.complete
    call.cancel()
    committed = (await second.status(UPLOAD)).committed_size
    file = await resumed_in_the_end(second, content, committed)
    assert file.problem_count == 2
    done = await second.status(UPLOAD)
    assert (done.complete, done.file_id, list(done.problems)) == (True, file.id, [])


@pytest.mark.parametrize("rest", [0, 1])
async def test_resuming_when_all_or_nearly_all_is_there(gateway: Gateway, rest: int) -> None:
    content = lines(300, size=400)
    await broken_off(gateway, content, offset=0, until=len(content) - rest)
    resumed = await gateway.upload(content, upload_id=UPLOAD, offset=len(content) - rest)
    file = resumed.file
    assert (file.line_count, file.sha256) == (300, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("offset", [0, 1, SEGMENT - 1, 2 * SEGMENT + 1])
async def test_a_wrong_offset_is_told_the_right_one(gateway: Gateway, offset: int) -> None:
    content = lines(700, size=400)
    await broken_off(gateway, content, offset=0, until=SEGMENT)
    failure = await refused(gateway.upload(content, upload_id=UPLOAD, offset=offset))
    assert (failure.code, failure.reason, failure.metadata) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "WRITE_OFFSET_MISMATCH",
        {"committed_size": str(SEGMENT)},
    )


async def test_an_offset_without_an_upload(gateway: Gateway) -> None:
    failure = await refused(gateway.upload(lines(5), offset=5))
    assert (failure.reason, failure.metadata) == (
        "WRITE_OFFSET_MISMATCH",
        {"committed_size": "0"},
    )


async def test_of_two_streams_for_one_upload_one_goes_on(start_gateway: StartGateway) -> None:
    first, second = await start_gateway(), await start_gateway()
    content = lines(700, size=400)
    slow, fast = first.stream(), second.stream()
    await slow.write(spec())
    await slow.write(chunk(content[:SEGMENT]))
    await committed_at_least(second, SEGMENT)
    await fast.write(spec(SEGMENT))
    await fast.write(chunk(content[SEGMENT : 2 * SEGMENT]))
    await committed_at_least(second, 2 * SEGMENT)
    await slow.write(chunk(content[SEGMENT : 2 * SEGMENT]))
    await slow.write(FINISH)
    failure = await refused(slow)
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_CONFLICT")
    assert failure.retry_after is not None

    for start in range(2 * SEGMENT, len(content), 16 * 1024):
        await fast.write(chunk(content[start : start + 16 * 1024]))
    await fast.write(FINISH)
    file = (await fast).file
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert await first.download(file.id) == content
    assert (await first.status(UPLOAD)).file_id == file.id


async def test_two_that_end_the_same_upload_give_one_file(start_gateway: StartGateway) -> None:
    first, second = await start_gateway(), await start_gateway()
    content = lines(200, size=400) + lines(1)
    await broken_off(first, content, offset=0, until=len(content))
    # Both have nothing left to send, so no segment tells them apart.
    ended = await asyncio.gather(
        first.upload(content, upload_id=UPLOAD, offset=len(content)),
        second.upload(content, upload_id=UPLOAD, offset=len(content)),
        return_exceptions=True,
    )
    files = {each.file.id for each in ended if isinstance(each, files_pb2.UploadFileResponse)}
    assert len(files) == 1
    file_id = files.pop()
    assert (await first.status(UPLOAD)).file_id == file_id
    assert [row["reason"] for row in await first.report(file_id)] == ["duplicate_custom_id"]


async def test_a_stopping_gateway_lets_uploads_resume(start_gateway: StartGateway) -> None:
    stopping, other = await start_gateway(), await start_gateway()
    content = lines(700, size=400)
    call = stopping.stream()
    await call.write(spec())
    await call.write(chunk(content[: SEGMENT + 1000]))
    await committed_at_least(other, SEGMENT)
    stop = asyncio.create_task(stopping.stop())
    failure = await refused(call)
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.UNAVAILABLE,
        "SERVER_STOPPING",
    )
    await stop
    assert await other.committed(UPLOAD) == SEGMENT + 1000
    resumed = await other.upload(content, upload_id=UPLOAD, offset=SEGMENT + 1000)
    assert resumed.file.sha256 == hashlib.sha256(content).hexdigest()


async def test_an_upload_ends_within_the_grace(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(shutdown_grace=20)
    content = lines(700, size=400)
    call = gateway.stream()
    await call.write(spec())
    await call.write(chunk(content[:SEGMENT]))
    await committed_at_least(gateway, SEGMENT)
    stop = asyncio.create_task(gateway.stop())
    for start in range(SEGMENT, len(content), SEGMENT):
        await call.write(chunk(content[start : start + SEGMENT]))
    await call.write(FINISH)
    assert (await call).file.line_count == 700
    await stop


async def test_what_a_crash_left_half_way_is_no_obstacle(gateway: Gateway) -> None:
    """A segment beyond a gap, and a scratch of a checker that died."""
    account = (await gateway.ledger.accounts.list_keys())[0][0].account_id
    prefix = f"files/{account}/{UPLOAD}"
    await gateway.ledger.files.begin_upload(account, UPLOAD)
    content = lines(700, size=400)
    writer = SegmentWriter(
        gateway.blobs, f"{prefix}/data", segment_bytes=SEGMENT, point=Failpoint.UPLOAD_DATA
    )
    await writer.write(content[:SEGMENT])
    await writer.close()
    await gateway.blobs.put(
        f"{prefix}/scratch/0123456789abcdef/index/{0:020d}", b"rest", point=Failpoint.UPLOAD_DATA
    )
    assert await gateway.committed(UPLOAD) == SEGMENT
    file = (await gateway.upload(content, upload_id=UPLOAD, offset=SEGMENT)).file
    assert await gateway.download(file.id) == content
    assert not await gateway.blobs.list(f"{prefix}/scratch")


async def test_uploads_of_two_accounts_do_not_meet(gateway: Gateway) -> None:
    stranger = await gateway.another_account()
    mine = await gateway.upload(lines(3), upload_id=UPLOAD)
    failure = await refused(stranger.status(UPLOAD))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
    theirs = await stranger.upload(lines(4), upload_id=UPLOAD)
    assert theirs.file.id != mine.file.id
    assert theirs.file.line_count == 4


async def test_an_upload_deleted_meanwhile_makes_no_file(
    gateway: Gateway, make_settings: MakeSettings
) -> None:
    content = lines(700, size=400)
    call = gateway.stream()
    await call.write(spec())
    await call.write(chunk(content[:SEGMENT]))
    await committed_at_least(gateway, SEGMENT)
    settings = make_settings()
    ledger = await Ledger.open(settings.effective_database_url)
    account = (await ledger.accounts.list_keys())[0][0].account_id
    await BlobStore.open(settings.effective_blobs_url).delete_prefix(
        f"files/{account}/{UPLOAD}", point=Failpoint.UPLOAD_DATA
    )
    await ledger.close()
    await call.write(chunk(content[SEGMENT : SEGMENT + 100]))
    await call.write(FINISH)
    failure = await refused(call)
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_CONFLICT")
    assert await gateway.blobs.list("files") == []
    assert await gateway.committed(UPLOAD) == 0


async def test_an_upload_that_is_not_to_be_resumed_leaves_nothing(gateway: Gateway) -> None:
    call = gateway.stream()
    asked = files_pb2.UploadSpec(upload_id=UPLOAD, discard_unfinished=True)
    await call.write(files_pb2.UploadFileRequest(spec=asked))
    await call.write(chunk(lines(700, size=400)[: 2 * SEGMENT]))
    await committed_at_least(gateway, SEGMENT)
    await call.done_writing()
    failure = await refused(call)
    assert failure.reason == "UPLOAD_UNFINISHED"
    assert await gateway.committed(UPLOAD) == 0
    assert await gateway.ledger.files.stale_uploads(now() + timedelta(days=1), 10) == []
    assert files_below(gateway.settings.data_dir / "blobs") == []


async def test_nor_does_one_that_is_given_up_as_it_begins(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def opening(*_which: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(StoredFile, "open", opening)
    call = gateway.stream()
    asked = files_pb2.UploadSpec(upload_id=UPLOAD, discard_unfinished=True)
    await call.write(files_pb2.UploadFileRequest(spec=asked))
    await begun.wait()
    assert await gateway.ledger.files.stale_uploads(now() + timedelta(days=1), 10)
    call.cancel()
    async with asyncio.timeout(20):
        while await gateway.ledger.files.stale_uploads(now() + timedelta(days=1), 10):
            pass


async def test_a_stream_that_breaks_late_leaves_the_file_of_another(
    start_gateway: StartGateway,
) -> None:
    """A client whose first try stalls, and that uploads anew, loses nothing as that try ends."""
    one, two = await start_gateway(), await start_gateway()
    content = lines(100, size=400)
    stalled = one.stream()
    asked = files_pb2.UploadSpec(upload_id=UPLOAD, discard_unfinished=True)
    await stalled.write(files_pb2.UploadFileRequest(spec=asked))
    await stalled.write(chunk(content[: SEGMENT // 2]))
    async with asyncio.timeout(20):
        while not await one.ledger.files.stale_uploads(now() + timedelta(days=1), 10):
            pass
    file = (await two.upload(content, upload_id=UPLOAD)).file
    await stalled.done_writing()
    assert (await refused(stalled)).reason == "UPLOAD_UNFINISHED"
    assert await two.download(file.id) == content
    assert (await two.create(file.id)).id


async def test_an_upload_that_is_deleted_while_it_is_checked_is_no_file(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, stub = FileChecker.finish, gateway.files

    async def slow(self: FileChecker, data: StoredFile) -> CheckedFile:
        checked = await finish(self, data)
        await stub.DeleteUpload(
            files_pb2.DeleteUploadRequest(upload_id=UPLOAD), metadata=gateway.metadata
        )
        return checked

    monkeypatch.setattr(FileChecker, "finish", slow)
    failure = await refused(gateway.upload(lines(3), upload_id=UPLOAD))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_CONFLICT")
    assert await gateway.committed(UPLOAD) == 0
    listed = await gateway.files.ListFiles(files_pb2.ListFilesRequest(), metadata=gateway.metadata)
    assert not listed.files
    monkeypatch.undo()
    assert (await gateway.upload(lines(3), upload_id=UPLOAD)).file.line_count == 3


@pytest.mark.parametrize("dead", [True, False])
async def test_one_that_is_not_to_be_resumed_begins_anew(gateway: Gateway, dead: bool) -> None:
    """What the stream before has stored goes, whether it is known to have ended or not."""
    content = lines(700, size=400)
    asked = files_pb2.UploadSpec(upload_id=UPLOAD, discard_unfinished=not dead)
    before = gateway.stream()
    await before.write(files_pb2.UploadFileRequest(spec=asked))
    await before.write(chunk(content[: 2 * SEGMENT]))
    await committed_at_least(gateway, SEGMENT)
    if dead:
        # As if its gateway had been killed: what is stored stays.
        await before.done_writing()
        assert (await refused(before)).reason == "UPLOAD_UNFINISHED"
    asked.discard_unfinished = True
    messages = [
        files_pb2.UploadFileRequest(spec=asked),
        *(chunk(content[at : at + SEGMENT]) for at in range(0, len(content), SEGMENT)),
        FINISH,
    ]
    file = (await gateway.files.UploadFile(iter(messages), metadata=gateway.metadata)).file
    if not dead:
        await before.done_writing()
        assert (await refused(before)).reason == "UPLOAD_UNFINISHED"
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert await gateway.download(file.id) == content

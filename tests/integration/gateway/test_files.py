"""A file's life after its upload: shown, listed, downloaded, deleted, and only its owner's."""

from __future__ import annotations

import errno
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from polybatch.v1 import files_pb2

from core.blobs import BlobStore, StoredFile
from core.blobs.folder import Folder
from core.ledger import Upload, now
from services.gateway.discard import UploadSweep
from tests.support.gateway.running import SEGMENT, Gateway, lines, refused


async def test_pages_of_files_newest_first(gateway: Gateway) -> None:
    ids = [(await gateway.upload(lines(1))).file.id for _ in range(5)]
    stranger = await gateway.another_account()
    await stranger.upload(lines(1))

    async def page(size: int, token: str) -> files_pb2.ListFilesResponse:
        request = files_pb2.ListFilesRequest(page_size=size, page_token=token)
        return await gateway.files.ListFiles(request, metadata=gateway.metadata)

    seen, token = [], ""
    while True:
        response = await page(2, token)
        assert len(response.files) <= 2
        seen += [file.id for file in response.files]
        token = response.next_page_token
        if not token:
            break
    assert seen == ids[::-1]
    assert [file.id for file in (await page(0, "")).files] == ids[::-1]
    whole = await page(5, "")
    assert (len(whole.files), whole.next_page_token) == (5, "")


async def test_a_foreign_page_token(gateway: Gateway) -> None:
    request = files_pb2.ListFilesRequest(page_token="nonsense")
    failure = await refused(gateway.files.ListFiles(request, metadata=gateway.metadata))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "PAGE_TOKEN_INVALID",
    )


@pytest.mark.parametrize("offset", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 200_000])
async def test_a_file_is_downloaded_from_an_offset(gateway: Gateway, offset: int) -> None:
    content = lines(500, size=400)
    assert len(content) > 200_000
    file = (await gateway.upload(content)).file
    assert await gateway.download(file.id, offset=offset) == content[offset:]
    assert await gateway.download(file.id, offset=len(content)) == b""


@pytest.mark.parametrize("offset", [-1, 10**9, 2**63 - 1])
async def test_offsets_outside_of_a_file(gateway: Gateway, offset: int) -> None:
    file = (await gateway.upload(lines(1))).file
    request = files_pb2.DownloadFileRequest(file_id=file.id, offset=offset)
    failure = await refused(gateway.files.DownloadFile(request, metadata=gateway.metadata).read())
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.OUT_OF_RANGE,
        "OFFSET_OUT_OF_RANGE",
    )


@pytest.mark.parametrize("whose", ["nobody's", "another account's", "deleted"])
async def test_files_that_are_not_there(gateway: Gateway, whose: str) -> None:
    file_id = "file_00000000000000000000"
    if whose == "another account's":
        file_id = (await (await gateway.another_account()).upload(lines(1))).file.id
    elif whose == "deleted":
        file_id = (await gateway.upload(lines(1))).file.id
        await gateway.delete(file_id)
    download = gateway.files.DownloadFile(
        files_pb2.DownloadFileRequest(file_id=file_id), metadata=gateway.metadata
    )
    for call in (
        gateway.get_file(file_id),
        gateway.delete(file_id),
        gateway.create(file_id),
        download.read(),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")


async def test_deleting_a_file_deletes_all_of_it(gateway: Gateway) -> None:
    content = lines(500, size=400)
    file = (await gateway.upload(content, upload_id="upload-1")).file
    await gateway.delete(file.id)
    assert await gateway.blobs.list("files") == []
    assert await gateway.committed("upload-1") == 0
    again = (await gateway.upload(content, upload_id="upload-1")).file
    assert again.id != file.id
    assert await gateway.download(again.id) == content


async def test_a_file_that_goes_as_its_download_begins_is_not_taken_for_a_short_one(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (await gateway.upload(lines(500, size=400))).file
    found = StoredFile.open

    async def late(blobs: BlobStore, prefix: str) -> StoredFile:
        monkeypatch.undo()
        await gateway.delete(file.id)
        return await found(blobs, prefix)

    monkeypatch.setattr(StoredFile, "open", late)
    failure = await refused(gateway.download(file.id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")


async def test_a_file_in_use_stays(gateway: Gateway) -> None:
    file = (await gateway.upload(lines(1))).file
    batch = await gateway.create(file.id)
    failure = await refused(gateway.delete(file.id))
    assert (failure.code, failure.reason, failure.metadata) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "FILE_IN_USE",
        {"batch_id": batch.id},
    )
    await gateway.ledger.batches.fail(batch.id, "test", "ended")
    await gateway.delete(file.id)


def sweep(gateway: Gateway, retention: timedelta) -> UploadSweep:
    return UploadSweep(gateway.ledger, gateway.blobs, retention=retention, interval=60)


async def test_abandoned_uploads_are_discarded(gateway: Gateway) -> None:
    account = (await gateway.ledger.accounts.list_keys())[0][0].account_id
    kept = (await gateway.upload(lines(500, size=400))).file
    call = gateway.stream()
    spec = files_pb2.UploadSpec(upload_id="abandoned")
    await call.write(files_pb2.UploadFileRequest(spec=spec))
    await call.write(files_pb2.UploadFileRequest(chunk=lines(500, size=400)[:SEGMENT]))
    await call.done_writing()
    await refused(call)
    assert await gateway.committed("abandoned") == SEGMENT

    assert await sweep(gateway, timedelta(hours=1)).once() == 0
    assert await gateway.committed("abandoned") == SEGMENT
    assert await sweep(gateway, timedelta(0)).once() == 1
    assert await gateway.committed("abandoned") == 0
    assert await gateway.ledger.files.find_upload(account, "abandoned") is None
    assert len(await gateway.download(kept.id)) == kept.bytes
    assert await sweep(gateway, timedelta(0)).once() == 0


async def test_an_upload_that_goes_on_is_not_discarded(gateway: Gateway) -> None:
    account = (await gateway.ledger.accounts.list_keys())[0][0].account_id
    await gateway.ledger.files.begin_upload(account, "upload-1")
    (stale,) = await gateway.ledger.files.stale_uploads(now(), 10)
    assert isinstance(stale, Upload)
    await gateway.ledger.files.begin_upload(account, "upload-1")
    assert not await gateway.ledger.files.claim_upload(stale)


async def test_what_a_crash_left_of_a_deleted_file_is_swept(gateway: Gateway) -> None:
    account = (await gateway.ledger.accounts.list_keys())[0][0].account_id
    file = (await gateway.upload(lines(3))).file
    # The row is gone; the process died before it came to the blobs.
    await gateway.ledger.files.delete(account, file.id)
    assert await gateway.blobs.list("files") != []
    assert await sweep(gateway, timedelta(0)).once() == 1
    assert await gateway.blobs.list("files") == []


async def test_a_full_disk(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    content = lines(500, size=400)
    write = Folder.write

    def full(folder: Folder, key: str, *arguments: Any, **options: Any) -> None:
        if int(Path(key).name) >= SEGMENT:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, key, *arguments, **options)

    monkeypatch.setattr(Folder, "write", full)
    failure = await refused(gateway.upload(content, upload_id="upload-1"))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "STORAGE_FULL",
    )
    assert failure.retry_after == 60
    monkeypatch.undo()
    committed = await gateway.committed("upload-1")
    assert committed == SEGMENT
    file = (await gateway.upload(content, upload_id="upload-1", offset=committed)).file
    assert await gateway.download(file.id) == content


async def test_storage_that_is_away(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any, **_options: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Folder, "write", broken)
    failure = await refused(gateway.upload(lines(1)))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.UNAVAILABLE,
        "STORAGE_UNAVAILABLE",
    )


async def test_pages_of_files_oldest_first(gateway: Gateway) -> None:
    ids = [(await gateway.upload(lines(1))).file.id for _ in range(5)]
    found: list[str] = []
    request = files_pb2.ListFilesRequest(page_size=2, oldest_first=True)
    while True:
        page = await gateway.files.ListFiles(request, metadata=gateway.metadata)
        found += [file.id for file in page.files]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert found == ids

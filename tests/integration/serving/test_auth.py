"""Who is let through, and what handlers know of them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from polybatch.v1 import files_pb2
from structlog.testing import capture_logs
from structlog.typing import EventDict

from core.serving import Principal, current_principal
from tests.integration.serving.conftest import ALICE, Serve


async def get_account(request: Any, context: Any) -> Any:
    return files_pb2.File(id=current_principal().account_id)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "API_KEY_MISSING"),
        ((("authorization", "Bearer wrong"),), "API_KEY_INVALID"),
        ((("authorization", "Basic cGI6cGI="),), "API_KEY_INVALID"),
        ((("authorization", "Bearer "),), "API_KEY_INVALID"),
    ],
)
async def test_without_a_valid_key_nobody_gets_in(
    serve: Serve, metadata: tuple[tuple[str, str], ...], reason: str
) -> None:
    running = await serve(get=get_account)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.files.GetFile(files_pb2.GetFileRequest(), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    status = Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == reason


async def test_the_principal_is_there_in_every_kind_of_handler(serve: Serve) -> None:
    async def download(request: Any, context: Any) -> Any:
        for _ in range(2):
            yield files_pb2.DownloadFileResponse(chunk=current_principal().key_id.encode())
            await asyncio.sleep(0)

    async def upload(requests: Any, context: Any) -> Any:
        async for _ in requests:
            assert current_principal() == ALICE
        return files_pb2.UploadFileResponse(file=files_pb2.File(id=current_principal().account_id))

    running = await serve(get=get_account, download=download, upload=upload)
    file = await running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
    assert file.id == ALICE.account_id
    chunks = [
        response.chunk
        async for response in running.files.DownloadFile(
            files_pb2.DownloadFileRequest(), metadata=running.auth
        )
    ]
    assert chunks == [b"key_1"] * 2
    answer = await running.files.UploadFile(
        iter([files_pb2.UploadFileRequest(chunk=b"x")] * 2), metadata=running.auth
    )
    assert answer.file.id == ALICE.account_id


async def test_concurrent_calls_do_not_see_each_others_principal(serve: Serve) -> None:
    async def by_key(key: str) -> Principal:
        return Principal(account_id=f"acct_{key}", key_id=key)

    entered = 0
    everybody_in = asyncio.Event()

    async def get(request: Any, context: Any) -> Any:
        nonlocal entered
        entered += 1
        if entered == 10:
            everybody_in.set()
        await everybody_in.wait()
        return files_pb2.File(id=current_principal().account_id)

    running = await serve(authenticate=by_key, get=get)
    files = await asyncio.gather(
        *(
            running.files.GetFile(
                files_pb2.GetFileRequest(), metadata=(("authorization", f"Bearer {n}"),)
            )
            for n in range(10)
        )
    )
    assert [file.id for file in files] == [f"acct_{n}" for n in range(10)]


def test_outside_of_an_rpc_there_is_no_principal() -> None:
    with pytest.raises(LookupError):
        current_principal()


async def test_the_access_log_names_caller_and_code_but_no_key(serve: Serve) -> None:
    running = await serve(get=get_account)
    ended: asyncio.Queue[EventDict] = asyncio.Queue()

    def hear(_logger: Any, _method: str, event: EventDict) -> EventDict:
        if event["event"] == "rpc_ended":
            ended.put_nowait(event)
        return event

    async with asyncio.timeout(30):
        with capture_logs(processors=[hear]) as logs:
            await running.files.GetFile(files_pb2.GetFileRequest(), metadata=running.auth)
            first = await ended.get()
            with pytest.raises(grpc.aio.AioRpcError):
                await running.files.GetFile(files_pb2.GetFileRequest())
            # The answer can be here before the line is written.
            second = await ended.get()
    assert first["method"] == "/polybatch.v1.FileService/GetFile"
    assert (first["code"], first["account_id"]) == ("OK", ALICE.account_id)
    assert (second["code"], second["account_id"]) == ("UNAUTHENTICATED", None)
    assert running.auth[0][1] not in repr(logs)

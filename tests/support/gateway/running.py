"""A running gateway, and a plain client of it made of the generated stubs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from polybatch._transport.driving import run
from polybatch.v1 import batches_pb2, batches_pb2_grpc, files_pb2, files_pb2_grpc
from pydantic import SecretStr

from core.blobs import BlobStore
from core.ledger import KeyLimits, Ledger, Scope
from core.settings import ProviderAccess, Settings
from services.gateway.service import serve

CHAT = "/v1/chat/completions"
SEGMENT = 64 * 1024
"""Bytes of a segment in these tests: the least that the settings admit."""
FINISH = files_pb2.UploadFileRequest(finish=True)
_TIMEOUT = 60.0
_STAND_IN = (grpc.StatusCode.INTERNAL, "Internal error from Core")


def line(custom_id: str = "a", *, size: int = 0, **changes: Any) -> bytes:
    """A valid line without its newline, of at least `size` bytes; `...` leaves a field out."""
    fields = {
        "custom_id": custom_id,
        "provider": "openai",
        "method": "POST",
        "url": CHAT,
        "body": {"model": "openai/gpt-4.1", "messages": [{"role": "user", "content": "Hi"}]},
    }
    fields = {name: value for name, value in (fields | changes).items() if value is not ...}
    raw = json.dumps(fields).encode()
    return raw + b" " * (size - len(raw))


def lines(count: int, *, size: int = 0) -> bytes:
    """A file of so many valid lines."""
    return b"".join(line(f"id-{number}", size=size) + b"\n" for number in range(1, count + 1))


class Failure:
    """What an RPC failed with."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.violations: list[tuple[str, str]] = []
        self.retry_after: float | None = None
        for name, value in error.trailing_metadata() or ():
            if name == "grpc-status-details-bin":
                self._read(status_pb2.Status.FromString(value))

    def _read(self, status: status_pb2.Status) -> None:
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                assert info.domain == "polybatch"
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                self.violations = [(each.field, each.description) for each in bad.field_violations]
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToNanoseconds() / 1e9


async def refused(call: Any) -> Failure:
    """Await a call that has to fail; returns what it failed with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(_awaited(call), _TIMEOUT)
    return Failure(caught.value)


async def _awaited(call: Any) -> Any:
    return await (answer(call) if isinstance(call, grpc.aio.Call) else call)


async def answer(call: Any) -> Any:
    """What a call comes to, by the server's word.

    Where a server ends a call while a message is being written, grpc.aio sets a status of its own
    beside the server's, and tells either: https://github.com/grpc/grpc/issues/36066. Callbacks
    run for each of the two.
    """
    told: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()

    def note(ended: Any) -> None:
        code, details, metadata = map(
            run, (ended.code(), ended.details(), ended.trailing_metadata())
        )
        if (code, details) != _STAND_IN and not told.done():
            told.set_result(grpc.aio.AioRpcError(code, trailing_metadata=metadata, details=details))

    call.add_done_callback(note)
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if (error.code(), error.details()) != _STAND_IN:
            raise
        raise await told from None


class Caller:
    """One key's stubs and the messages that go through them."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self.files = files_pb2_grpc.FileServiceStub(channel)
        self.batches = batches_pb2_grpc.BatchServiceStub(channel)

    async def upload(
        self,
        content: bytes = b"",
        *,
        upload_id: str = "",
        offset: int = 0,
        filename: str = "",
        chunk: int = 32 * 1024,
    ) -> files_pb2.UploadFileResponse:
        """Send a file from an offset on; `content` is the whole of it."""
        spec = files_pb2.UploadSpec(filename=filename, upload_id=upload_id, write_offset=offset)
        messages = [
            files_pb2.UploadFileRequest(spec=spec),
            *(files_pb2.UploadFileRequest(chunk=piece) for piece in cut(content[offset:], chunk)),
            FINISH,
        ]
        call = self.files.UploadFile(iter(messages), metadata=self.metadata)
        return await asyncio.wait_for(answer(call), _TIMEOUT)

    def stream(self) -> Any:
        """An open UploadFile call, to be written to step by step."""
        return self.files.UploadFile(metadata=self.metadata)

    async def submit(
        self,
        content: bytes,
        *,
        upload_id: str = "",
        offset: int = 0,
        default_provider: str = "",
        **order: Any,
    ) -> batches_pb2.Batch:
        """SubmitBatch; `order` are fields of CreateBatchRequest."""
        kind = batches_pb2.SubmitBatchRequest
        spec = kind.Spec(
            upload=files_pb2.UploadSpec(
                upload_id=upload_id, write_offset=offset, default_provider=default_provider
            ),
            batch=batches_pb2.CreateBatchRequest(**order),
        )
        messages = [kind(spec=spec)]
        messages += [kind(chunk=piece) for piece in cut(content[offset:], 32 * 1024)]
        messages += [kind(finish=True)]
        messages.append(kind(finish=True))
        call = self.batches.SubmitBatch(iter(messages), metadata=self.metadata)
        return await asyncio.wait_for(answer(call), _TIMEOUT)

    async def committed(self, upload_id: str) -> int:
        """What GetUploadStatus says; 0 where it knows nothing."""
        try:
            return int((await self.status(upload_id)).committed_size)
        except grpc.aio.AioRpcError as error:
            if Failure(error).reason != "UPLOAD_NOT_FOUND":
                raise
            return 0

    async def status(self, upload_id: str) -> files_pb2.UploadStatus:
        return await self.files.GetUploadStatus(
            files_pb2.GetUploadStatusRequest(upload_id=upload_id), metadata=self.metadata
        )

    async def download(self, file_id: str, *, offset: int = 0, report: bool = False) -> bytes:
        content = (
            files_pb2.FILE_CONTENT_VALIDATION_REPORT
            if report
            else files_pb2.FILE_CONTENT_UNSPECIFIED
        )
        request = files_pb2.DownloadFileRequest(file_id=file_id, offset=offset, content=content)
        call = self.files.DownloadFile(request, metadata=self.metadata)
        return b"".join([message.chunk async for message in call])

    async def report(self, file_id: str) -> list[dict[str, Any]]:
        return [json.loads(row) for row in (await self.download(file_id, report=True)).splitlines()]

    async def get_file(self, file_id: str) -> files_pb2.File:
        return await self.files.GetFile(
            files_pb2.GetFileRequest(file_id=file_id), metadata=self.metadata
        )

    async def delete(self, file_id: str) -> None:
        await self.files.DeleteFile(
            files_pb2.DeleteFileRequest(file_id=file_id), metadata=self.metadata
        )

    async def create(self, file_id: str, **order: Any) -> batches_pb2.Batch:
        return await self.batches.CreateBatch(
            batches_pb2.CreateBatchRequest(input_file_id=file_id, **order), metadata=self.metadata
        )

    async def get_batch(self, batch_id: str) -> batches_pb2.Batch:
        return await self.batches.GetBatch(
            batches_pb2.GetBatchRequest(batch_id=batch_id), metadata=self.metadata
        )

    async def cancel(self, batch_id: str) -> batches_pb2.Batch:
        return await self.batches.CancelBatch(
            batches_pb2.CancelBatchRequest(batch_id=batch_id), metadata=self.metadata
        )


def cut(content: bytes, size: int) -> Iterable[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


class Gateway(Caller):
    """A gateway that runs in this process, and its first key's caller."""

    def __init__(
        self, settings: Settings, ledger: Ledger, channel: grpc.aio.Channel, stop: asyncio.Event
    ) -> None:
        super().__init__(channel, settings.api_key_file.read_text().strip())
        self.settings = settings
        self.ledger = ledger
        self.blobs = BlobStore.open(settings.effective_blobs_url)
        self.channel = channel
        self.health = health_pb2_grpc.HealthStub(channel)
        self._stop = stop
        self.task: asyncio.Task[None] | None = None

    async def another_account(self, name: str = "other", scope: Scope = Scope.BATCH) -> Caller:
        """The caller of a new key of another account."""
        key = await self.ledger.accounts.create_key(name, limits=KeyLimits(scope=scope))
        return Caller(self.channel, key.secret)

    async def stop(self) -> None:
        """Stop gracefully, as SIGTERM does."""
        self._stop.set()
        assert self.task is not None
        await asyncio.wait_for(asyncio.shield(self.task), _TIMEOUT)

    async def health_becomes(self, serving: bool) -> None:
        """Wait for the health service to say so."""
        wanted = (
            health_pb2.HealthCheckResponse.SERVING
            if serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        await wait_for_health(self.channel, wanted)


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel that tries again soon while the server is not up yet."""
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
        ],
    )


async def wait_for_health(channel: grpc.aio.Channel, wanted: int) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(), wait_for_ready=True
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            async for update in watch:
                if update.status == wanted:
                    return
    finally:
        watch.cancel()


MakeSettings = Callable[..., Settings]
StartGateway = Callable[..., Awaitable[Gateway]]


@asynccontextmanager
async def running_gateway(settings: Settings, keys: Sequence[str]) -> AsyncIterator[Gateway]:
    """Run a gateway until the end of the block; `keys`: providers that have one."""
    access = ProviderAccess(
        openai_api_key=SecretStr("sk-test") if "openai" in keys else None,
        anthropic_api_key=SecretStr("sk-ant-test") if "anthropic" in keys else None,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, access, stop))
    channel = open_channel(settings.gateway_listen)
    ready = asyncio.create_task(wait_for_health(channel, health_pb2.HealthCheckResponse.SERVING))
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        await asyncio.gather(ready, return_exceptions=True)
        await channel.close()
        task.result()
    await ready
    ledger = await Ledger.open(settings.effective_database_url)
    gateway = Gateway(settings, ledger, channel, stop)
    gateway.task = task
    try:
        yield gateway
    finally:
        await channel.close()
        await gateway.stop()
        await ledger.close()

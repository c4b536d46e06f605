"""The services of the fake, each over the state that FakePolybatch holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from polybatch.v1 import (
    batches_pb2,
    batches_pb2_grpc,
    conversion_pb2,
    conversion_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    prices_pb2,
    prices_pb2_grpc,
    providers_pb2,
    providers_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
)

from services.gateway.converting import convert_lines, target_of
from tests.support.client.batches import snapshot
from tests.support.client.fault import NOT_FOUND, Fault

if TYPE_CHECKING:
    from tests.support.client.fake_service import FakePolybatch

SEGMENT_BYTES = 256 * 1024
CONVERSION_LIMIT = 2_000_000
INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Files(files_pb2_grpc.FileServiceServicer):
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def UploadFile(self, requests: AsyncIterator[Any], context: Any) -> Any:
        spec = (await anext(requests)).spec
        fault = await self._fake.enter("UploadFile", spec, context)
        upload = await self._fake.receive(requests, spec, fault, context)
        if fault and fault.after_work:
            await fault.abort(context)
        problems = self._fake.problems[upload.file_id][:20]
        return files_pb2.UploadFileResponse(
            file=self._fake.files[upload.file_id],
            problems=[
                files_pb2.LineProblem(line=p["line"], reason=p["reason"], message=p["message"])
                for p in problems
            ],
        )

    async def GetUploadStatus(self, request: Any, context: Any) -> Any:
        await self._fake.enter("GetUploadStatus", request, context)
        upload = self._fake.uploads.get(request.upload_id)
        if upload is None:
            await Fault(NOT_FOUND, "no such upload", "UPLOAD_NOT_FOUND").abort(context)
        committed = upload.committed - (SEGMENT_BYTES if upload.said_less else 0)
        upload.said_less = False
        return files_pb2.UploadStatus(
            upload_id=request.upload_id,
            committed_size=committed,
            complete=bool(upload.file_id),
            file_id=upload.file_id,
        )

    async def DownloadFile(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._fake.enter("DownloadFile", request, context)
        await self._file(request.file_id, context)
        if request.content == files_pb2.FILE_CONTENT_VALIDATION_REPORT:
            problems = self._fake.problems[request.file_id]
            content = b"".join(json.dumps(problem).encode() + b"\n" for problem in problems)
        else:
            content = self._fake.contents[request.file_id]
        async for chunk in cut(content, request.offset, self._fake.chunk_bytes, fault, context):
            yield files_pb2.DownloadFileResponse(chunk=chunk)

    async def GetFile(self, request: Any, context: Any) -> Any:
        await self._fake.enter("GetFile", request, context)
        return await self._file(request.file_id, context)

    async def ListFiles(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListFiles", request, context)
        items, token = page(list(self._fake.files.values())[::-1], request)
        return files_pb2.ListFilesResponse(files=items, next_page_token=token)

    async def DeleteFile(self, request: Any, context: Any) -> Any:
        fault = await self._fake.enter("DeleteFile", request, context)
        await self._file(request.file_id, context)
        del self._fake.files[request.file_id]
        if fault and fault.after_work:
            await fault.abort(context)
        return files_pb2.DeleteFileResponse()

    async def _file(self, file_id: str, context: Any) -> Any:
        if file_id not in self._fake.files:
            await Fault(NOT_FOUND, f"no file {file_id}", "FILE_NOT_FOUND").abort(context)
        return self._fake.files[file_id]


class Conversion(conversion_pb2_grpc.ConversionServiceServicer):
    """As the gateway's; what it takes at a time is less."""

    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def ConvertLines(
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[conversion_pb2.ConvertLinesResponse]:
        spec = (await anext(requests)).spec
        fault = await self._fake.enter("ConvertLines", spec, context)
        lines = b"".join([request.chunk async for request in requests])
        if len(lines) > CONVERSION_LIMIT:
            await Fault(INVALID, "too much", "CONVERSION_TOO_LARGE").abort(context)
        converted, problems = convert_lines(lines, target_of(spec), spec.first_line)
        async for chunk in cut(converted, 0, self._fake.chunk_bytes, fault, context):
            yield conversion_pb2.ConvertLinesResponse(chunk=chunk)
        for problem in problems:
            yield conversion_pb2.ConvertLinesResponse(problem=problem)


class Batches(batches_pb2_grpc.BatchServiceServicer):
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def CreateBatch(self, request: Any, context: Any) -> Any:
        fault = await self._fake.enter("CreateBatch", request, context)
        if request.request_id in self._fake.made:
            return self._fake.batches[self._fake.made[request.request_id]][-1]
        batch = await self._fake.make_batch(request.input_file_id, request, context)
        self._fake.made[request.request_id] = batch.id
        if fault and fault.after_work:
            await fault.abort(context)
        return batch

    async def SubmitBatch(self, requests: AsyncIterator[Any], context: Any) -> Any:
        spec = (await anext(requests)).spec
        fault = await self._fake.enter("SubmitBatch", spec, context)
        upload = await self._fake.receive(requests, spec.upload, fault, context)
        if fault and fault.after_upload:
            await fault.abort(context)
        if upload.batch_id:
            return self._fake.batches[upload.batch_id][-1]
        if spec.batch.request_id in self._fake.made:
            return self._fake.batches[self._fake.made[spec.batch.request_id]][-1]
        batch = await self._fake.make_batch(upload.file_id, spec.batch, context)
        upload.batch_id = self._fake.made[spec.batch.request_id] = batch.id
        if fault and fault.after_work:
            await fault.abort(context)
        return batch

    async def EstimateBatch(self, request: Any, context: Any) -> Any:
        await self._fake.enter("EstimateBatch", request, context)
        file = self._fake.files[request.input_file_id]
        found = batches_pb2.BatchEstimate()
        found.CopyFrom(self._fake.estimate)
        found.input_file_id, found.line_count = file.id, file.line_count
        return found

    async def GetBatch(self, request: Any, context: Any) -> Any:
        await self._fake.enter("GetBatch", request, context)
        return (await self._fake.snapshots(request.batch_id, context))[-1]

    async def ListBatches(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListBatches", request, context)
        newest = [snapshots[-1] for snapshots in self._fake.batches.values()][::-1]
        wanted = [b for b in newest if not request.states or b.state in request.states]
        items, token = page(wanted, request)
        return batches_pb2.ListBatchesResponse(batches=items, next_page_token=token)

    async def DeleteBatch(self, request: Any, context: Any) -> Any:
        await self._fake.enter("DeleteBatch", request, context)
        del self._fake.batches[request.batch_id]
        return batches_pb2.DeleteBatchResponse()

    async def DeleteResults(self, request: Any, context: Any) -> Any:
        await self._fake.enter("DeleteResults", request, context)
        batch = self._fake.batches[request.batch_id][-1]
        batch.deleted_results.append(request.kind)
        return batch

    async def CancelBatch(self, request: Any, context: Any) -> Any:
        await self._fake.enter("CancelBatch", request, context)
        batch = batches_pb2.Batch()
        batch.CopyFrom((await self._fake.snapshots(request.batch_id, context))[-1])
        batch.state = batches_pb2.BATCH_STATE_CANCELLING
        batch.revision += 1
        self._fake.batches[request.batch_id].append(batch)
        return batch

    async def PauseBatch(self, request: Any, context: Any) -> Any:
        await self._fake.enter("PauseBatch", request, context)
        return await self._steered(request, context, paused_by="key_1")

    async def ResumeBatch(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ResumeBatch", request, context)
        return await self._steered(request, context, paused_by="")

    async def _steered(self, request: Any, context: Any, *, paused_by: str) -> Any:
        batch = batches_pb2.Batch()
        batch.CopyFrom((await self._fake.snapshots(request.batch_id, context))[-1])
        batch.paused_by = paused_by
        batch.waiting_reason = f"paused: by {paused_by}" if paused_by else ""
        if paused_by:
            batch.paused_at.GetCurrentTime()
        else:
            batch.ClearField("paused_at")
        batch.revision += 1
        self._fake.batches[request.batch_id].append(batch)
        return batch

    async def RetryBatch(self, request: Any, context: Any) -> Any:
        fault = await self._fake.enter("RetryBatch", request, context)
        batch_id = self._fake.made.setdefault(request.request_id, f"{request.batch_id}_child")
        if batch_id not in self._fake.batches:
            child = snapshot(batch_id, 5, "COMPLETED", total=2, succeeded=2)
            child.parent_batch_id = request.batch_id
            self._fake.batches[batch_id] = [child]
        if fault and fault.after_work:
            await fault.abort(context)
        return self._fake.batches[batch_id][-1]


class Providers(providers_pb2_grpc.ProviderServiceServicer):
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def ListProviders(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListProviders", request, context)
        return providers_pb2.ListProvidersResponse(providers=self._fake.providers)

    async def PauseProvider(self, request: Any, context: Any) -> Any:
        await self._fake.enter("PauseProvider", request, context)
        provider = providers_pb2.Provider(name=request.name, paused_by="key_1")
        provider.paused_at.GetCurrentTime()
        return provider

    async def ResumeProvider(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ResumeProvider", request, context)
        return providers_pb2.Provider(name=request.name)


class Prices(prices_pb2_grpc.PriceServiceServicer):
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def ListPrices(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListPrices", request, context)
        wanted = [
            each
            for each in self._fake.prices
            if request.model in ("", each.model, f"{each.provider}/{each.model}")
        ]
        return prices_pb2.ListPricesResponse(prices=wanted)


class Status(status_pb2_grpc.StatusServiceServicer):
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def WatchBatch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._fake.enter("WatchBatch", request, context)
        revision, sent = request.last_revision, 0
        try:
            yield status_pb2.WatchBatchResponse()
            for snapshot in self._fake.stale:
                yield status_pb2.WatchBatchResponse(batch=snapshot)
            while True:
                change = self._fake.next_change()
                news = [
                    snapshot
                    for snapshot in await self._fake.snapshots(request.batch_id, context)
                    if snapshot.revision > revision
                ]
                for snapshot in news:
                    if fault and sent == fault.after_messages:
                        if fault.end_with_ok:
                            return
                        await fault.abort(context)
                    yield status_pb2.WatchBatchResponse(batch=snapshot)
                    sent += 1
                    revision = snapshot.revision
                if ended(self._fake.batches[request.batch_id][-1]):
                    return
                if fault and sent >= fault.after_messages:
                    await fault.abort(context)
                await self._fake.wait_for_change(change)
        except BaseException:
            # Cancelled while writing, it is an error of the write, or the end of the generator.
            self._fake.cancelled.set()
            raise

    async def WatchBatches(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._fake.enter("WatchBatches", request, context)
        sent_revisions: dict[str, int] = {}
        first, sent = True, 0
        try:
            while True:
                change = self._fake.next_change()
                for batch_id, snapshots in list(self._fake.batches.items()):
                    newest = snapshots[-1]
                    if first and ended(newest):
                        sent_revisions[batch_id] = newest.revision
                    if newest.revision <= sent_revisions.get(batch_id, 0):
                        continue
                    if fault and sent == fault.after_messages:
                        await fault.abort(context)
                    sent_revisions[batch_id] = newest.revision
                    yield status_pb2.WatchBatchesResponse(batch=newest)
                    sent += 1
                first = False
                if fault and sent >= fault.after_messages:
                    await fault.abort(context)
                yield status_pb2.WatchBatchesResponse()
                await self._fake.wait_for_change(change)
        except BaseException:
            # Cancelled while writing, it is an error of the write, or the end of the generator.
            self._fake.cancelled.set()
            raise


async def cut(
    content: bytes, offset: int, chunk_bytes: int, fault: Fault | None, context: Any
) -> AsyncIterator[bytes]:
    given = 0
    for start in range(offset, len(content), chunk_bytes):
        if fault and given >= fault.after_bytes:
            if fault.end_with_ok:
                return
            if fault.hold:
                await asyncio.Event().wait()
            await fault.abort(context)
        chunk = content[start : start + chunk_bytes]
        given += len(chunk)
        yield chunk


def page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    start = int(request.page_token or 0)
    end = start + (request.page_size or 100)
    return items[start:end], str(end) if end < len(items) else ""


def ended(batch: batches_pb2.Batch) -> bool:
    return batch.state in (
        batches_pb2.BATCH_STATE_COMPLETED,
        batches_pb2.BATCH_STATE_FAILED,
        batches_pb2.BATCH_STATE_EXPIRED,
        batches_pb2.BATCH_STATE_CANCELLED,
    )

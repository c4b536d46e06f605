"""A polybatch that does what a test tells it, on a real socket, in a thread of its own.

It serves both the gateway's and the collector's services on one port. What it is to do
wrong stands in `faults`: each call of an RPC takes the first fault of its queue, if any.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from polybatch.v1 import (
    batches_pb2,
    batches_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    results_pb2,
    results_pb2_grpc,
    status_pb2_grpc,
)
from polybatch.v1 import status_pb2 as watch_pb2

API_KEY = "pb-test-key"
SEGMENT_BYTES = 256 * 1024


@dataclass
class Fault:
    """How one call fails."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "gone for now"
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)
    retry_after: float | None = None
    after_bytes: int = 0
    """Of an upload or a download."""
    after_messages: int = 0
    """Of a watch."""
    end_with_ok: bool = False
    """End the stream early instead of failing."""
    after_work: bool = False
    """Do what was asked, then fail: the reply is lost."""

    async def abort(self, context: Any) -> None:
        """Ends the call with google.rpc.Status details, as core/serving does."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        details: list[Any] = []
        if self.reason:
            details.append(
                error_details_pb2.ErrorInfo(
                    reason=self.reason, domain="polybatch", metadata=self.metadata
                )
            )
        if self.violations:
            bad_request = error_details_pb2.BadRequest()
            for name, description in self.violations:
                bad_request.field_violations.add(field=name, description=description)
            details.append(bad_request)
        if self.retry_after is not None:
            retry_info = error_details_pb2.RetryInfo()
            retry_info.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(retry_info)
        if not details:
            await context.abort(self.code, self.message)
        for detail in details:
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        await context.abort_with_status(rpc_status.to_status(status))


NOT_FOUND = grpc.StatusCode.NOT_FOUND


@dataclass
class Upload:
    """Bytes received under one upload id."""

    received: bytearray = field(default_factory=bytearray)
    committed: int = 0
    file_id: str = ""
    batch_id: str = ""
    said_less: bool = False
    """The next status names a segment less than is committed."""


class FakePolybatch:
    """State, faults and a log of calls. Set them before the call that they are meant for."""

    def __init__(self) -> None:
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.calls: list[tuple[str, Any]] = []
        self.uploads: dict[str, Upload] = {}
        self.files: dict[str, files_pb2.File] = {}
        self.contents: dict[str, bytes] = {}
        self.problems: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.batches: dict[str, list[batches_pb2.Batch]] = {}
        """The snapshots of each batch, oldest first."""
        self.stale: list[batches_pb2.Batch] = []
        """What watches begin with, as from a replica that lags behind."""
        self.results: dict[str, bytes] = {}
        self.results_digest: dict[str, str] = {}
        """Overrides the right digest."""
        self.failures: dict[str, list[results_pb2.LineFailure]] = {}
        self.on_submit: Callable[[batches_pb2.Batch], None] = lambda batch: None
        self.cancelled = threading.Event()
        """Set when a client has cancelled a stream."""
        self.watching = threading.Event()
        """Set when a watch has sent all that there is."""
        self.received_bytes = 0
        self.chunk_bytes = 1000
        self.port = 0
        self._loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._changed: asyncio.Event = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    # Lifecycle, called from the test's thread.

    def start(self) -> None:
        """Listens; at the port of before, if there was one."""
        self._run(self._start())

    def stop(self) -> None:
        """Breaks all connections and stops listening."""
        self._run(self._stop())

    def close(self) -> None:
        """Stops for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def publish(self, snapshot: batches_pb2.Batch) -> None:
        """Adds a snapshot of a batch and wakes its watches."""

        async def add() -> None:
            self.batches.setdefault(snapshot.id, []).append(snapshot)
            self._changed.set()
            self._changed = asyncio.Event()

        self._run(add())

    @property
    def address(self) -> str:
        """host:port."""
        return f"localhost:{self.port}"

    def count(self, name: str) -> int:
        """How often an RPC was called."""
        return sum(1 for called, _ in self.calls if called == name)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        self._server = grpc.aio.server(
            options=(("grpc.so_reuseport", 0), ("grpc.http2.min_recv_ping_interval_ms", 10_000))
        )
        files_pb2_grpc.add_FileServiceServicer_to_server(_Files(self), self._server)
        batches_pb2_grpc.add_BatchServiceServicer_to_server(_Batches(self), self._server)
        status_pb2_grpc.add_StatusServiceServicer_to_server(_Status(self), self._server)
        results_pb2_grpc.add_ResultServiceServicer_to_server(_Results(self), self._server)
        self.port = self._server.add_insecure_port(f"localhost:{self.port}")
        await self._server.start()

    async def _stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    # Used by the servicers, on the loop.

    async def enter(self, name: str, request: Any, context: Any) -> Fault | None:
        """Notes the call, checks the key, and fails at once if that is the call's fault."""
        self.calls.append((name, request))
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {API_KEY}":
            await Fault(
                grpc.StatusCode.UNAUTHENTICATED, "the key is not known", "API_KEY_INVALID"
            ).abort(context)
        fault = self.faults[name].popleft() if self.faults[name] else None
        if fault and not (
            fault.after_bytes or fault.after_messages or fault.after_work or fault.end_with_ok
        ):
            await fault.abort(context)
        return fault

    async def wait_for_change(self) -> None:
        """Until the next `publish`."""
        changed = self._changed
        self.watching.set()
        await changed.wait()

    async def snapshots(self, batch_id: str, context: Any) -> list[batches_pb2.Batch]:
        """The snapshots of a batch."""
        if batch_id not in self.batches:
            await Fault(NOT_FOUND, f"no batch {batch_id}", "BATCH_NOT_FOUND").abort(context)
        return self.batches[batch_id]

    async def receive(
        self, requests: AsyncIterator[Any], spec: Any, fault: Fault | None, context: Any
    ) -> Upload:
        """Takes an upload's chunks, committing whole segments only."""
        upload = self.uploads.setdefault(spec.upload_id, Upload())
        if upload.file_id:
            return upload
        if spec.write_offset != upload.committed:
            await Fault(
                grpc.StatusCode.FAILED_PRECONDITION,
                "wrong offset",
                "WRITE_OFFSET_MISMATCH",
                {"committed_size": str(upload.committed)},
            ).abort(context)
        del upload.received[upload.committed :]
        got = 0
        async for request in requests:
            assert request.WhichOneof("payload") == "chunk"
            assert 0 < len(request.chunk) <= 1024 * 1024
            upload.received += request.chunk
            got += len(request.chunk)
            self.received_bytes += len(request.chunk)
            upload.committed = len(upload.received) // SEGMENT_BYTES * SEGMENT_BYTES
            if fault and fault.after_bytes and got >= fault.after_bytes:
                await fault.abort(context)
        # To grpc.aio a broken stream has ended like any other; only sending tells them
        # apart: on a broken one it never comes back.
        await context.send_initial_metadata(())
        upload.committed = len(upload.received)
        content = bytes(upload.received)
        file_id = f"file_{len(self.contents):04d}"
        upload.file_id = file_id
        self.contents[file_id] = content
        self.files[file_id] = self._check(file_id, spec.filename, content)
        return upload

    def _check(self, file_id: str, filename: str, content: bytes) -> files_pb2.File:
        lines = content.splitlines()
        bad = 0
        for number, line in enumerate(lines, start=1):
            try:
                json.loads(line)
            except ValueError:
                bad += 1
                self.problems[file_id].append(
                    {
                        "line": number,
                        "custom_id": "",
                        "field": "",
                        "reason": "not_json",
                        "message": "expected a JSON object",
                        "severity": "error",
                    }
                )
        file = files_pb2.File(
            id=file_id,
            filename=filename,
            state=files_pb2.FILE_STATE_INVALID if bad else files_pb2.FILE_STATE_READY,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            line_count=len(lines),
            invalid_line_count=bad,
            endpoint="/v1/chat/completions",
            problem_count=bad,
        )
        file.created_at.FromSeconds(1_800_000_000)
        file.models.add(provider="openai", model="openai/gpt-4.1", line_count=len(lines))
        return file

    async def make_batch(self, file_id: str, request: Any, context: Any) -> batches_pb2.Batch:
        """Makes a batch of a file, or refuses its bad lines."""
        file = self.files.get(file_id)
        if file is None:
            await Fault(NOT_FOUND, f"no file {file_id}", "FILE_NOT_FOUND").abort(context)
        assert file is not None
        if file.invalid_line_count and not request.skip_invalid_lines:
            await Fault(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{file.invalid_line_count} of {file.line_count} lines cannot be sent",
                "INVALID_LINES",
                {"file_id": file_id},
                [
                    (f"line {problem['line']}", problem["message"])
                    for problem in self.problems[file_id][:20]
                ],
            ).abort(context)
        batch = batches_pb2.Batch(
            id=f"batch_{len(self.batches):04d}",
            state=batches_pb2.BATCH_STATE_VALIDATING,
            revision=1,
            input_file_id=file_id,
            endpoint=file.endpoint,
            display_state="In Progress",
            metadata=request.metadata,
            skip_invalid_lines=request.skip_invalid_lines,
            completion_window=request.completion_window,
            shard_count=1,
        )
        batch.request_counts.total = batch.request_counts.queued = file.line_count
        batch.created_at.FromSeconds(1_800_000_000)
        self.batches[batch.id] = [batch]
        self.on_submit(batch)
        return batch


class _Files(files_pb2_grpc.FileServiceServicer):  # type: ignore[misc]
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
        assert upload is not None
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
        async for chunk in _cut(content, request.offset, self._fake.chunk_bytes, fault, context):
            yield files_pb2.DownloadFileResponse(chunk=chunk)

    async def GetFile(self, request: Any, context: Any) -> Any:
        await self._fake.enter("GetFile", request, context)
        return await self._file(request.file_id, context)

    async def ListFiles(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListFiles", request, context)
        items, token = _page(list(self._fake.files.values())[::-1], request)
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


class _Batches(batches_pb2_grpc.BatchServiceServicer):  # type: ignore[misc]
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def CreateBatch(self, request: Any, context: Any) -> Any:
        fault = await self._fake.enter("CreateBatch", request, context)
        batch = await self._fake.make_batch(request.input_file_id, request, context)
        if fault and fault.after_work:
            await fault.abort(context)
        return batch

    async def SubmitBatch(self, requests: AsyncIterator[Any], context: Any) -> Any:
        spec = (await anext(requests)).spec
        fault = await self._fake.enter("SubmitBatch", spec, context)
        upload = await self._fake.receive(requests, spec.upload, fault, context)
        if upload.batch_id:
            return self._fake.batches[upload.batch_id][-1]
        batch = await self._fake.make_batch(upload.file_id, spec.batch, context)
        upload.batch_id = batch.id
        if fault and fault.after_work:
            await fault.abort(context)
        return batch

    async def GetBatch(self, request: Any, context: Any) -> Any:
        await self._fake.enter("GetBatch", request, context)
        return (await self._fake.snapshots(request.batch_id, context))[-1]

    async def ListBatches(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListBatches", request, context)
        newest = [snapshots[-1] for snapshots in self._fake.batches.values()][::-1]
        wanted = [b for b in newest if not request.states or b.state in request.states]
        items, token = _page(wanted, request)
        return batches_pb2.ListBatchesResponse(batches=items, next_page_token=token)

    async def CancelBatch(self, request: Any, context: Any) -> Any:
        await self._fake.enter("CancelBatch", request, context)
        batch = batches_pb2.Batch()
        batch.CopyFrom((await self._fake.snapshots(request.batch_id, context))[-1])
        batch.state = batches_pb2.BATCH_STATE_CANCELLING
        batch.revision += 1
        self._fake.batches[request.batch_id].append(batch)
        return batch


class _Status(status_pb2_grpc.StatusServiceServicer):  # type: ignore[misc]
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def WatchBatch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._fake.enter("WatchBatch", request, context)
        revision, sent = request.last_revision, 0
        try:
            yield watch_pb2.WatchBatchResponse()
            for snapshot in self._fake.stale:
                yield watch_pb2.WatchBatchResponse(batch=snapshot)
            while True:
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
                    yield watch_pb2.WatchBatchResponse(batch=snapshot)
                    sent += 1
                    revision = snapshot.revision
                if _ended(self._fake.batches[request.batch_id][-1]):
                    return
                if fault and sent >= fault.after_messages:
                    await fault.abort(context)
                await self._fake.wait_for_change()
        except asyncio.CancelledError:
            self._fake.cancelled.set()
            raise

    async def WatchBatches(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._fake.enter("WatchBatches", request, context)
        sent_revisions: dict[str, int] = {}
        first, sent = True, 0
        try:
            while True:
                for batch_id, snapshots in list(self._fake.batches.items()):
                    newest = snapshots[-1]
                    if first and _ended(newest):
                        sent_revisions[batch_id] = newest.revision
                    if newest.revision <= sent_revisions.get(batch_id, 0):
                        continue
                    if fault and sent == fault.after_messages:
                        await fault.abort(context)
                    sent_revisions[batch_id] = newest.revision
                    yield watch_pb2.WatchBatchesResponse(batch=newest)
                    sent += 1
                first = False
                if fault and sent >= fault.after_messages:
                    await fault.abort(context)
                yield watch_pb2.WatchBatchesResponse()
                await self._fake.wait_for_change()
        except asyncio.CancelledError:
            self._fake.cancelled.set()
            raise


class _Results(results_pb2_grpc.ResultServiceServicer):  # type: ignore[misc]
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def DownloadResults(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._fake.enter("DownloadResults", request, context)
        if request.batch_id not in self._fake.results:
            snapshots = self._fake.batches.get(request.batch_id, ())
            failed = snapshots and snapshots[-1].state == batches_pb2.BATCH_STATE_FAILED
            reason = "NO_RESULTS" if failed else "BATCH_NOT_ENDED"
            await Fault(grpc.StatusCode.FAILED_PRECONDITION, "there are no results", reason).abort(
                context
            )
        everything = self._fake.results[request.batch_id]
        wanted = b"".join(
            line
            for line in everything.splitlines(keepends=True)
            if request.filter == results_pb2.RESULT_FILTER_UNSPECIFIED
            or (json.loads(line)["error"] is None)
            == (request.filter == results_pb2.RESULT_FILTER_SUCCEEDED)
        )
        digest = hashlib.sha256(everything).hexdigest()
        header = results_pb2.ResultsHeader(
            total_bytes=len(wanted),
            line_count=wanted.count(b"\n"),
            manifest=results_pb2.Manifest(
                batch_id=request.batch_id,
                input_line_count=everything.count(b"\n"),
                results_sha256=self._fake.results_digest.get(request.batch_id, digest),
                results_bytes=len(everything),
            ),
        )
        try:
            yield results_pb2.DownloadResultsResponse(header=header)
            chunk_bytes = self._fake.chunk_bytes
            async for chunk in _cut(wanted, request.offset, chunk_bytes, fault, context):
                yield results_pb2.DownloadResultsResponse(chunk=chunk)
        except BaseException:
            # Cancelled while writing, it is an error of the write.
            self._fake.cancelled.set()
            raise

    async def ListFailures(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListFailures", request, context)
        items, token = _page(self._fake.failures.get(request.batch_id, []), request)
        return results_pb2.ListFailuresResponse(failures=items, next_page_token=token)


async def _cut(
    content: bytes, offset: int, chunk_bytes: int, fault: Fault | None, context: Any
) -> AsyncIterator[bytes]:
    given = 0
    for start in range(offset, len(content), chunk_bytes):
        if fault and given >= fault.after_bytes:
            if fault.end_with_ok:
                return
            await fault.abort(context)
        chunk = content[start : start + chunk_bytes]
        given += len(chunk)
        yield chunk


def _page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    start = int(request.page_token or 0)
    end = start + (request.page_size or 100)
    return items[start:end], str(end) if end < len(items) else ""


def _ended(batch: batches_pb2.Batch) -> bool:
    return batch.state in (
        batches_pb2.BATCH_STATE_COMPLETED,
        batches_pb2.BATCH_STATE_FAILED,
        batches_pb2.BATCH_STATE_EXPIRED,
        batches_pb2.BATCH_STATE_CANCELLED,
    )

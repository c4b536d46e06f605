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
from polybatch.v1 import (
    batches_pb2,
    batches_pb2_grpc,
    conversion_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    prices_pb2,
    prices_pb2_grpc,
    providers_pb2,
    providers_pb2_grpc,
    results_pb2,
    results_pb2_grpc,
    status_pb2_grpc,
)

from tests.support.client.estimates import estimate
from tests.support.client.fake_partial import Settled
from tests.support.client.fake_results import Results
from tests.support.client.fake_servicers import (
    SEGMENT_BYTES,
    Batches,
    Conversion,
    Files,
    Prices,
    Providers,
    Status,
)
from tests.support.client.fault import NOT_FOUND, Fault

API_KEY = "pb-test-key"


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
        self.traceparents: list[str | None] = []
        """One for each call."""
        self.uploads: dict[str, Upload] = {}
        self.files: dict[str, files_pb2.File] = {}
        self.contents: dict[str, bytes] = {}
        self.problems: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.batches: dict[str, list[batches_pb2.Batch]] = {}
        """The snapshots of each batch, oldest first."""
        self.made: dict[str, str] = {}
        """The batch of each request id that CreateBatch was given."""
        self.stale: list[batches_pb2.Batch] = []
        """What watches begin with, as from a replica that lags behind."""
        self.results: dict[str, bytes] = {}
        self.settled: dict[str, Settled] = {}
        """Of batches whose results are asked for while they run."""
        self.results_digest: dict[str, str] = {}
        """Overrides the right digest."""
        self.providers: list[providers_pb2.Provider] = []
        self.prices: list[prices_pb2.Price] = []
        self.estimate = estimate(("gpt-4.1", "0.0312", "1.25"))
        """Of any file, but for the file's id and count of lines."""
        self.failures: dict[str, list[results_pb2.LineFailure]] = {}
        self.failure_causes: dict[str, results_pb2.ListFailureCausesResponse] = {}
        self.on_submit: Callable[[batches_pb2.Batch], None] = lambda batch: None
        self.cancelled = threading.Event()
        """Set when a client has cancelled a stream."""
        self.watching = threading.Event()
        """Set when a watch has sent all that there is."""
        self.receiving = threading.Event()
        """Set when a chunk of an upload has come."""
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
        return f"127.0.0.1:{self.port}"

    def count(self, name: str) -> int:
        """How often an RPC was called."""
        return sum(1 for called, _ in self.calls if called == name)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        self._server = grpc.aio.server(
            options=(("grpc.so_reuseport", 0), ("grpc.http2.min_recv_ping_interval_ms", 10_000))
        )
        files_pb2_grpc.add_FileServiceServicer_to_server(Files(self), self._server)
        batches_pb2_grpc.add_BatchServiceServicer_to_server(Batches(self), self._server)
        conversion_pb2_grpc.add_ConversionServiceServicer_to_server(Conversion(self), self._server)
        providers_pb2_grpc.add_ProviderServiceServicer_to_server(Providers(self), self._server)
        prices_pb2_grpc.add_PriceServiceServicer_to_server(Prices(self), self._server)
        status_pb2_grpc.add_StatusServiceServicer_to_server(Status(self), self._server)
        results_pb2_grpc.add_ResultServiceServicer_to_server(Results(self), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
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
        self.traceparents.append(metadata.get("traceparent"))
        if metadata.get("authorization") != f"Bearer {API_KEY}":
            await Fault(
                grpc.StatusCode.UNAUTHENTICATED, "the key is not known", "API_KEY_INVALID"
            ).abort(context)
        fault = self.faults[name].popleft() if self.faults[name] else None
        if fault and not (
            fault.after_bytes
            or fault.after_messages
            or fault.after_upload
            or fault.after_work
            or fault.end_with_ok
        ):
            await fault.abort(context)
        return fault

    def next_change(self) -> asyncio.Event:
        """Set by the next `publish`; taken before looking, so that none is missed."""
        return self._changed

    async def wait_for_change(self, change: asyncio.Event) -> None:
        """Until the `publish` that `next_change` was taken before."""
        self.watching.set()
        await change.wait()

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
        finished = False
        async for request in requests:
            assert not finished, "nothing follows finish"
            finished = request.finish
            if finished:
                continue
            assert request.WhichOneof("payload") == "chunk"
            assert 0 < len(request.chunk) <= 1024 * 1024
            upload.received += request.chunk
            got += len(request.chunk)
            self.received_bytes += len(request.chunk)
            self.receiving.set()
            upload.committed = len(upload.received) // SEGMENT_BYTES * SEGMENT_BYTES
            if fault and fault.after_bytes and got >= fault.after_bytes:
                await fault.abort(context)
        if not finished:
            # To grpc.aio a broken stream has ended like any other.
            await Fault(
                grpc.StatusCode.ABORTED, "the stream ended without finish", "UPLOAD_UNFINISHED"
            ).abort(context)
        upload.committed = len(upload.received)
        content = bytes(upload.received)
        file_id = f"file_{len(self.contents):020d}"
        upload.file_id = file_id
        self.contents[file_id] = content
        self.files[file_id] = self._check(file_id, spec.filename, content)
        return upload

    def _check(self, file_id: str, filename: str, content: bytes) -> files_pb2.File:
        lines = {n: each for n, each in enumerate(content.splitlines(), 1) if each.strip()}
        bad = 0
        for number, line in lines.items():
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
            state=(
                files_pb2.FILE_STATE_INVALID if bad or not lines else files_pb2.FILE_STATE_READY
            ),
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
                {
                    "file_id": file_id,
                    "line_count": str(file.line_count),
                    "invalid_line_count": str(file.invalid_line_count),
                    "lenient_line_count": str(file.lenient_line_count),
                },
                [
                    (f"line {problem['line']}", problem["message"])
                    for problem in self.problems[file_id][:20]
                ],
            ).abort(context)
        if not file.line_count:
            await Fault(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the file is empty",
                "NO_VALID_LINES",
                {"file_id": file_id, "line_count": "0"},
            ).abort(context)
        batch = batches_pb2.Batch(
            id=f"batch_{len(self.batches):020d}",
            state=batches_pb2.BATCH_STATE_VALIDATING,
            revision=1,
            input_file_id=file_id,
            endpoint=file.endpoint,
            display_state="In Progress",
            metadata=request.metadata,
            skip_invalid_lines=request.skip_invalid_lines,
            lenient_translation=request.lenient_translation,
            completion_window=request.completion_window,
            shard_count=1,
        )
        batch.request_counts.total = batch.request_counts.queued = file.line_count
        batch.created_at.FromSeconds(1_800_000_000)
        self.batches[batch.id] = [batch]
        self.on_submit(batch)
        return batch

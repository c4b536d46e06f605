"""Hostile clients: what a million tiny messages, and thousands of idle watches, cost.

The limits are those of docs/adr/0019: nothing is kept of a message, and a watch holds some
tens of KiB.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import grpc
from polybatch.v1 import files_pb2, files_pb2_grpc, status_pb2, status_pb2_grpc

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.inputs import line
from benchmarks.machine import peak_memory, processor_seconds
from benchmarks.options import Options
from benchmarks.program import answer_line, program, tell_line
from benchmarks.suite import Suite, running_suite
from benchmarks.watchers import PATIENCE, Stage, backbone_of

KEPT_OF_MESSAGES = 16e6
WATCH = 64e3
_FEW = 1_000


async def measure(options: Options) -> list[Figure]:
    """An upload of single bytes; then watches of a batch that stands still, and one too many."""
    settings = {
        "POLYBATCH_MAX_ACCOUNT_WATCHES": str(options.idle),
        # Ten thousand watches are opened faster than an account may begin calls.
        "POLYBATCH_ACCOUNT_REQUESTS_PER_SECOND": "0",
    }
    async with running_suite(options.folder / "hostile", **settings) as suite:
        return [*await _messages(suite, options.messages), *await _idle(suite, options.idle)]


async def _messages(suite: Suite, count: int) -> list[Figure]:
    gateway = suite.pids["gateway"]
    await _upload_bytes(suite, min(_FEW, count))
    memory, processor = peak_memory(gateway), processor_seconds(gateway)
    await _upload_bytes(suite, count)
    each = (processor_seconds(gateway) - processor) / count
    return [
        Figure(
            f"memory of gateway kept of {count} messages of a byte",
            (peak_memory(gateway) - memory) / 1e6,
            "MB",
            limit=KEPT_OF_MESSAGES / 1e6,
            basis=f"for any number; its most was {memory / 1e6:.0f} MB before",
        ),
        Figure("processor of gateway for a message of a byte", each * 1e6, "us", basis="none"),
    ]


async def _upload_bytes(suite: Suite, count: int) -> None:
    """Upload whole lines, the last one cut where it must be, a byte in each message."""
    text = line(1, "x").encode() + b"\n"

    async def messages() -> AsyncIterator[files_pb2.UploadFileRequest]:
        yield files_pb2.UploadFileRequest(spec=files_pb2.UploadSpec(filename="bytes.jsonl"))
        each = [files_pb2.UploadFileRequest(chunk=bytes([byte])) for byte in text]
        for at in range(count):
            yield each[at % len(each)]
        yield files_pb2.UploadFileRequest(finish=True)

    async with grpc.aio.insecure_channel(suite.gateway) as channel:
        stub = files_pb2_grpc.FileServiceStub(channel)  # type: ignore[no-untyped-call]
        answer = await stub.UploadFile(messages(), metadata=_login(suite))
    if answer.file.bytes != count:
        raise MeasurementFailed(f"of {count} bytes {answer.file.bytes} were kept")


async def _idle(suite: Suite, count: int) -> list[Figure]:
    collector = suite.pids["collector"]
    async with backbone_of(suite) as runtime, program("benchmarks.watching") as watching:
        batch_id = await (await Stage.prepare(suite, runtime)).batch(1)
        before = peak_memory(collector)
        order = {
            "collector": suite.collector,
            "api_key": suite.api_key,
            "batches": [batch_id] * count,
        }
        await tell_line(watching, json.dumps(order))
        await answer_line(watching, PATIENCE)
        most = peak_memory(collector)
        await _refused(suite, batch_id)
    return [
        Figure(
            f"memory of collector for each of {count} idle watches",
            (most - before) / count / 1e3,
            "kB",
            limit=WATCH / 1e3,
            basis=f"for any number; {most / 1e6:.0f} MB in all, and one more was refused",
        )
    ]


async def _refused(suite: Suite, batch_id: str) -> None:
    """Open one watch more than the account may have."""
    async with grpc.aio.insecure_channel(suite.collector) as channel:
        stub = status_pb2_grpc.StatusServiceStub(channel)  # type: ignore[no-untyped-call]
        request = status_pb2.WatchBatchRequest(batch_id=batch_id)
        try:
            await stub.WatchBatch(request, metadata=_login(suite)).read()
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return
            raise
    raise MeasurementFailed("a watch beyond the account's limit was not refused")


def _login(suite: Suite) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {suite.api_key}"),)

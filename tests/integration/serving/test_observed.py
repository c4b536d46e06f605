"""What an RPC leaves in metrics and traces, by how it ended."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from polybatch.v1 import files_pb2
from prometheus_client import REGISTRY

from core.serving import ApiError
from tests.integration.serving.conftest import Serve

METHOD = "polybatch.v1.FileService/GetFile"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def counted(code: str) -> float:
    labels = {"method": METHOD, "code": code}
    return REGISTRY.get_sample_value("polybatch_rpc_seconds_count", labels) or 0


async def get_file(request: files_pb2.GetFileRequest, context: object) -> files_pb2.File:
    match request.file_id:
        case "missing":
            raise ApiError.not_found("FILE_NOT_FOUND", "there is no such file")
        case "broken":
            raise RuntimeError("the secret of a fault")
        case "away":
            raise ApiError.unavailable("LEDGER_UNAVAILABLE", "wait")
    return files_pb2.File(id=request.file_id)


@pytest.mark.parametrize(
    ("file_id", "code", "failed"),
    [
        ("there", grpc.StatusCode.OK, False),
        ("missing", grpc.StatusCode.NOT_FOUND, False),
        ("broken", grpc.StatusCode.INTERNAL, True),
        ("away", grpc.StatusCode.UNAVAILABLE, True),
    ],
)
async def test_each_end_of_a_call(
    serve: Serve,
    written: InMemorySpanExporter,
    file_id: str,
    code: grpc.StatusCode,
    failed: bool,
) -> None:
    running = await serve(get=get_file)
    before = counted(code.name)
    metadata = (*running.auth, ("traceparent", PARENT))
    call = running.files.GetFile(files_pb2.GetFileRequest(file_id=file_id), metadata=metadata)
    assert await call.code() is code
    # Its interceptors have ended when the server has.
    await running.server.stop(5)

    assert counted(code.name) == before + 1
    in_flight = REGISTRY.get_sample_value("polybatch_rpc_in_flight", {"method": METHOD})
    assert in_flight == 0
    (span,) = written.get_finished_spans()
    assert_span(span, code, failed)
    assert "secret" not in span.to_json()


def assert_span(span: ReadableSpan, code: grpc.StatusCode, failed: bool) -> None:
    assert span.name == METHOD
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE
    attributes = dict(span.attributes or {})
    assert attributes["rpc.grpc.status_code"] == code.value[0]
    assert (span.status.status_code is StatusCode.ERROR) is failed
    assert attributes.get("error.type") == (code.name if failed else None)


async def test_a_call_that_nobody_lets_in_is_counted_too(
    serve: Serve, written: InMemorySpanExporter
) -> None:
    running = await serve(get=get_file)
    before = counted("UNAUTHENTICATED")
    with pytest.raises(grpc.aio.AioRpcError):
        await running.files.GetFile(files_pb2.GetFileRequest())
    await running.server.stop(5)
    assert counted("UNAUTHENTICATED") == before + 1
    (span,) = written.get_finished_spans()
    assert span.parent is None


async def test_health_checks_are_neither_counted_nor_traced(
    serve: Serve, written: InMemorySpanExporter
) -> None:
    running = await serve(get=get_file)
    await health_pb2_grpc.HealthStub(running.channel).Check(health_pb2.HealthCheckRequest())
    await running.server.stop(5)
    assert written.get_finished_spans() == ()
    methods = {
        sample.labels["method"]
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "polybatch_rpc_seconds_count"
    }
    assert not [method for method in methods if "Health" in method]

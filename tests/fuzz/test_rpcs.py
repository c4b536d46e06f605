"""Every RPC with any values: only the codes that its comment names, never INTERNAL."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polybatch.v1 import batches_pb2, files_pb2, results_pb2, webhooks_pb2

from tests.fuzz.budget import examples
from tests.fuzz.every_rpc import METHODS as EVERY
from tests.fuzz.every_rpc import path_of
from tests.fuzz.suite_thread import SuiteThread, account_of, ended_batch
from tests.fuzz.wire_values import documented_codes, messages
from tests.support.gateway.running import line

CODES = documented_codes()
METHODS = [method for method in EVERY if method.name not in ("UploadFile", "SubmitBatch")]
# A watch that is let in does not end by itself.
FIRST_ONLY = 1


def uploaded(suite: SuiteThread, upload_id: str, good: int = 4, bad: bytes = b"bad\n") -> str:
    """The id of a file with good lines, and a bad one."""
    kind = files_pb2.UploadFileRequest
    content = b"".join(line(f"id-{number}") + b"\n" for number in range(good)) + bad
    found = suite.call(
        "/polybatch.v1.FileService/UploadFile",
        kind(spec=files_pb2.UploadSpec(upload_id=upload_id)).SerializeToString(),
        kind(chunk=content).SerializeToString(),
        kind(finish=True).SerializeToString(),
    )
    return str(files_pb2.UploadFileResponse.FromString(found.responses[0]).file.id)


@pytest.fixture(scope="module")
def known(suite: SuiteThread) -> list[str]:
    """Ids that exist, and page tokens that were given."""
    file_id = uploaded(suite, "known-upload")
    # As many lines as the batches of them: they may be retried.
    ran = {count: uploaded(suite, f"known-upload-{count}", count, b"") for count in (3, 9)}
    answer = b'{"custom_id":"a","response":{"status_code":400,"body":{"error":{"code":7}}}}\n'

    async def prepare() -> list[str]:
        account = await account_of(suite.settings, suite.secret)
        ids = [
            await ended_batch(suite.settings, account, each, answer * count)
            for count, each in ran.items()
        ]
        return [*ids, file_id, "known-upload"]

    found: list[str] = suite.run(prepare)
    endpoint = webhooks_pb2.CreateWebhookEndpointRequest(url="https://example.com/known")
    made = suite.call(
        "/polybatch.v1.WebhookService/CreateWebhookEndpoint", endpoint.SerializeToString()
    )
    reply = webhooks_pb2.CreateWebhookEndpointResponse.FromString(made.responses[0])
    found += [reply.endpoint.id, reply.endpoint.url]
    request = batches_pb2.ListBatchesRequest(page_size=1).SerializeToString()
    listed = suite.call("/polybatch.v1.BatchService/ListBatches", request).responses[0]
    found.append(batches_pb2.ListBatchesResponse.FromString(listed).next_page_token)
    return found


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@given(data=st.data())
@settings(
    max_examples=examples(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_values_get_a_documented_code(
    suite: SuiteThread, known: list[str], method: MethodDescriptor, data: st.DataObject
) -> None:
    request: Any = data.draw(messages(method.input_type, known))
    found = suite.call(path_of(method), request.SerializeToString(), at_most=FIRST_ONLY)
    assert found.code.name in CODES[method.name], found
    if found.code is not grpc.StatusCode.OK:
        assert found.reason, found
        assert len(found.message.encode()) <= 768


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@given(data=st.data())
@settings(max_examples=examples(15))
def test_any_bytes_get_a_documented_code(
    suite: SuiteThread, known: list[str], method: MethodDescriptor, data: st.DataObject
) -> None:
    garbage = data.draw(st.one_of(st.binary(max_size=64), st.just(b"\x0a\xff\xff\xff\xff\x0f")))
    found = suite.call(path_of(method), garbage, at_most=FIRST_ONLY)
    assert found.code.name in CODES[method.name], found


def test_bytes_that_are_no_message_are_the_callers_fault(suite: SuiteThread) -> None:
    found = suite.call("/polybatch.v1.BatchService/GetBatch", b"\xff\xff")
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")
    assert "/polybatch.v1.BatchService/GetBatch" in found.message


def test_a_nul_is_named_with_its_field(suite: SuiteThread) -> None:
    order = batches_pb2.CreateBatchRequest(input_file_id="file_1", metadata={"team": "a\0b"})
    found = suite.call("/polybatch.v1.BatchService/CreateBatch", order.SerializeToString())
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")
    assert "metadata" in found.message


@pytest.mark.parametrize(
    "response",
    [
        b'{"status_code":400,"body":{"error":{"message":%s}}}' % (b"9" * 5000),
        b'{"status_code":%s,"body":{"error":{"code":"x"}}}' % (b"9" * 30),
        b'{"status_code":400,"body":%s}' % (b"[" * 490 + b"]" * 490),
    ],
)
def test_a_failure_in_an_odd_form_is_listed(suite: SuiteThread, response: bytes) -> None:
    async def prepare() -> str:
        account = await account_of(suite.settings, suite.secret)
        line = b'{"custom_id":"a","response":%b,"error":null}' % response
        return await ended_batch(suite.settings, account, file_id, line)

    file_id = uploaded(suite, "odd-failures")
    request = results_pb2.ListFailuresRequest(batch_id=suite.run(prepare))
    found = suite.call("/polybatch.v1.ResultService/ListFailures", request.SerializeToString())
    assert found.code is grpc.StatusCode.OK, found
    failures = results_pb2.ListFailuresResponse.FromString(found.responses[0]).failures
    assert [failure.custom_id for failure in failures] == ["a"]


def test_a_window_out_of_a_durations_own_range_is_named(suite: SuiteThread) -> None:
    order = batches_pb2.CreateBatchRequest(input_file_id=uploaded(suite, "odd-window"))
    order.completion_window.seconds = 2**62
    found = suite.call("/polybatch.v1.BatchService/CreateBatch", order.SerializeToString())
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "completion_window" in found.message

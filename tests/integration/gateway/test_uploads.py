"""Uploads that go through in one stream, and those that are refused."""

from __future__ import annotations

import asyncio
import hashlib

import grpc
import pytest
from polybatch.v1 import files_pb2

from core.blobs import StoredFile
from tests.support.gateway.running import (
    CHAT,
    FINISH,
    SEGMENT,
    Gateway,
    StartGateway,
    line,
    lines,
    refused,
)

READY, INVALID = files_pb2.FILE_STATE_READY, files_pb2.FILE_STATE_INVALID


async def test_a_file_is_checked_kept_and_given_back(gateway: Gateway) -> None:
    content = lines(1000, size=400) + line(
        "claude",
        provider="anthropic",
        body={
            "model": "anthropic/claude-4.6-sonnet",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 10,
        },
    )
    response = await gateway.upload(content, filename="in.jsonl")
    file = response.file
    assert (file.state, file.filename, file.endpoint) == (READY, "in.jsonl", CHAT)
    assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (file.line_count, file.invalid_line_count, file.problem_count) == (1001, 0, 0)
    assert [(each.provider, each.model, each.line_count) for each in file.models] == [
        ("openai", "openai/gpt-4.1", 1000),
        ("anthropic", "anthropic/claude-4.6-sonnet", 1),
    ]
    assert not response.problems
    assert await gateway.get_file(file.id) == file
    assert await gateway.download(file.id) == content
    assert await gateway.download(file.id, report=True) == b""


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (lines(3).replace(b"\n", b"\r\n"), 3),
        (b"\xef\xbb\xbf" + lines(3), 3),
        (b"\n \n" + lines(2) + b"\n\r\n\n", 2),
        (lines(2) + line("last"), 3),
        (line("é", size=1000), 1),
    ],
    ids=["crlf", "bom", "blank lines", "no final newline", "one line"],
)
@pytest.mark.parametrize("chunk", [7, 32 * 1024])
async def test_shapes_of_files_that_are_accepted(
    gateway: Gateway, content: bytes, count: int, chunk: int
) -> None:
    file = (await gateway.upload(content, chunk=chunk)).file
    assert (file.state, file.line_count) == (READY, count)
    assert await gateway.download(file.id) == content


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "the file is empty"), (b"\n\n", "the file has only blank lines")],
    ids=["empty", "blank lines only"],
)
async def test_a_file_without_lines_is_kept_and_makes_no_batch(
    gateway: Gateway, content: bytes, said: str
) -> None:
    file = (await gateway.upload(content)).file
    assert (file.state, file.line_count, file.bytes) == (INVALID, 0, len(content))
    assert await gateway.download(file.id) == content
    for skip in (False, True):
        failure = await refused(gateway.create(file.id, skip_invalid_lines=skip))
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "NO_VALID_LINES",
        )
        assert (failure.message, failure.metadata["line_count"]) == (said, "0")


def spec(**fields: object) -> files_pb2.UploadFileRequest:
    return files_pb2.UploadFileRequest(spec=files_pb2.UploadSpec(**fields))


def chunk(data: bytes) -> files_pb2.UploadFileRequest:
    return files_pb2.UploadFileRequest(chunk=data)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [chunk(b"x")],
        [files_pb2.UploadFileRequest()],
        [spec(), spec()],
        [spec(), files_pb2.UploadFileRequest()],
        [spec(), files_pb2.UploadFileRequest(finish=False)],
        [spec(), chunk(b"x" * (1024 * 1024 + 1))],
        [spec(filename="é" * 128)],
        [spec(upload_id="short")],
        [spec(upload_id="a" * 65)],
        [spec(upload_id="../../etc")],
        [spec(write_offset=-1)],
    ],
)
async def test_malformed_streams(
    gateway: Gateway, messages: list[files_pb2.UploadFileRequest]
) -> None:
    failure = await refused(gateway.files.UploadFile(iter(messages), metadata=gateway.metadata))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "MALFORMED_STREAM",
    )


async def test_a_message_that_is_no_protobuf(gateway: Gateway) -> None:
    raw = gateway.channel.stream_unary("/polybatch.v1.FileService/UploadFile")
    first = spec(upload_id="upload-raw").SerializeToString()
    for broken in (b"\x12\xff", b"\xff\xff", b"\x12\x05abc", b"\x12" + b"\x80" * 9):
        failure = await refused(raw(iter([first, broken]), metadata=gateway.metadata))
        assert failure.reason == "MALFORMED_STREAM"


async def test_a_chunk_of_exactly_the_limit_and_unusual_messages(gateway: Gateway) -> None:
    padded = line(size=1024 * 1024 - 1) + b"\n"
    raw = gateway.channel.stream_unary(
        "/polybatch.v1.FileService/UploadFile",
        response_deserializer=files_pb2.UploadFileResponse.FromString,
    )
    messages = [
        spec().SerializeToString(),
        chunk(padded).SerializeToString(),
        chunk(b"").SerializeToString(),
        # Two chunks in one message: the last one counts, as protobuf has it.
        chunk(b"lost").SerializeToString() + chunk(lines(1)).SerializeToString(),
        FINISH.SerializeToString(),
    ]
    response = await raw(iter(messages), metadata=gateway.metadata)
    assert response.file.line_count == 2
    assert response.file.bytes == len(padded) + len(lines(1))


async def test_files_over_the_limits_are_given_up(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_file_bytes=3 * SEGMENT, max_lines=100)
    failure = await refused(gateway.upload(lines(80, size=4096), upload_id="too-large"))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "FILE_TOO_LARGE",
    )
    assert str(3 * SEGMENT) in failure.message
    failure = await refused(gateway.upload(lines(101), upload_id="too-many"))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_LINES",
    )
    assert await gateway.committed("too-large") == await gateway.committed("too-many") == 0
    assert await gateway.blobs.list("files") == []
    assert (await gateway.upload(lines(100), upload_id="too-many")).file.line_count == 100


async def test_a_line_over_the_limit_is_a_bad_line(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_line_bytes=100_000)
    content = lines(1) + line("long", size=100_001) + b"\n" + line("fits", size=100_000)
    response = await gateway.upload(content)
    assert (response.file.line_count, response.file.invalid_line_count) == (3, 1)
    assert [(each.line, each.reason) for each in response.problems] == [(2, "line_too_long")]


async def test_a_finished_upload_is_returned_at_once(gateway: Gateway) -> None:
    content = lines(5) + b"{}\n"
    first = await gateway.upload(content, upload_id="upload-1")
    assert await gateway.upload(b"", upload_id="upload-1") == first
    assert await gateway.upload(content, upload_id="upload-1") == first
    # Even while the client goes on sending.
    call = gateway.stream()
    await call.write(spec(upload_id="upload-1"))
    assert await call == first
    status = await gateway.status("upload-1")
    assert (status.complete, status.file_id) == (True, first.file.id)
    assert status.committed_size == len(content)


async def test_an_idle_stream_is_ended_and_can_be_resumed(start_gateway: StartGateway) -> None:
    gateway, impatient = await start_gateway(), await start_gateway(upload_idle_timeout=1)
    content = lines(50)
    call = impatient.stream()
    await call.write(spec(upload_id="upload-1"))
    await call.write(chunk(content[:1000]))
    failure = await refused(call)
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_IDLE")
    assert await gateway.committed("upload-1") == 1000
    file = (await gateway.upload(content, upload_id="upload-1", offset=1000)).file
    assert await gateway.download(file.id) == content


async def test_a_stream_that_never_says_anything(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(upload_idle_timeout=0.2)
    failure = await refused(gateway.stream())
    assert failure.reason == "UPLOAD_IDLE"


async def test_uploads_side_by_side(gateway: Gateway) -> None:
    contents = [lines(200 + number, size=500) for number in range(6)]
    responses = await asyncio.gather(*(gateway.upload(content) for content in contents))
    assert [response.file.line_count for response in responses] == [200 + n for n in range(6)]
    for response, content in zip(responses, contents, strict=True):
        assert response.file.sha256 == hashlib.sha256(content).hexdigest()


async def test_the_index_lies_beside_the_data(gateway: Gateway) -> None:
    content = lines(10)
    file = (await gateway.upload(content, upload_id="upload-1")).file
    row = await gateway.ledger.files.find_upload(
        (await gateway.ledger.accounts.list_keys())[0][0].account_id, "upload-1"
    )
    prefix = f"files/{row.account_id}/upload-1"
    assert (await StoredFile.open(gateway.blobs, f"{prefix}/index")).size == 10 * 20
    assert {
        key.removeprefix(prefix).split("/")[1] for key, _ in await gateway.blobs.list(prefix)
    } <= {
        "data",
        "index",
        "report",
        "totals",
    }
    assert file.line_count == 10

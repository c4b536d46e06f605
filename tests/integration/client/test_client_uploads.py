"""Uploads, and what becomes of them when the stream breaks."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from polybatch import (
    AsyncClient,
    BatchState,
    Conflict,
    DataError,
    FileState,
    InvalidLines,
    LimitExceeded,
    PolybatchError,
    Unauthenticated,
    Unavailable,
    UploadInterrupted,
)
from polybatch._operations import sources
from polybatch._operations.pieces import CHUNK_BYTES
from polybatch._operations.upload_stream import FINISH, framed
from polybatch.v1 import batches_pb2, files_pb2

from tests.integration.client.conftest import QUICK, Api
from tests.support.client.fake_service import API_KEY, FakePolybatch
from tests.support.client.fake_servicers import SEGMENT_BYTES
from tests.support.client.fault import Fault

LINE = b'{"custom_id": "a", "text": "' + b"x" * 80 + b'"}\n'
# A little over three chunks, not a multiple of anything.
CONTENT = LINE * (3_300_000 // len(LINE))


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(CONTENT)
    return path


async def test_path_is_uploaded_whole_and_described(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    seen: list[tuple[int, int | None]] = []
    file = await api.call("upload", input_file, progress=lambda *now: seen.append(now))
    assert fake.contents[file.id] == CONTENT
    assert file.filename == "requests.jsonl"
    assert file.state is FileState.READY
    assert file.valid
    assert file.created_at is not None
    assert file.created_at.utcoffset() == timedelta(0)
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has only file names in UTF-8")
async def test_a_file_name_that_is_no_utf8_is_told_as_far_as_it_is(
    api: Api, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"Gr\xf6\xdfe \xc3\xbc.jsonl")
    path.write_bytes(LINE)
    for content, options in ((path, {}), (LINE, {"filename": path.name})):
        file = await api.call("upload", content, **options)
        assert file.filename == "Gr\ufffd\ufffde ü.jsonl"


async def test_all_is_sent_once_the_service_has_confirmed_it(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    whole = (len(CONTENT), len(CONTENT))
    seen: list[tuple[int, int | None]] = []
    told: list[bool] = []
    api.observe(lambda *_: told.append(whole in seen))
    fake.faults["UploadFile"] += [Fault(), Fault(after_bytes=len(CONTENT)), Fault(after_work=True)]
    await api.call("upload", input_file, progress=lambda *now: seen.append(now))
    assert set(told) == {False}
    assert seen.count(whole) == 1


@pytest.mark.parametrize(
    "content",
    [
        lambda path: str(path),
        lambda path: CONTENT,
        lambda path: bytearray(CONTENT),
        lambda path: io.BytesIO(CONTENT),
        lambda path: (CONTENT[at : at + 1013] for at in range(0, len(CONTENT), 1013)),
        lambda path: [CONTENT],
        lambda path: iter([b"", CONTENT[:5], b"", memoryview(CONTENT)[5:]]),
    ],
    ids=["str", "bytes", "bytearray", "BytesIO", "small pieces", "one piece", "odd pieces"],
)
async def test_every_kind_of_source_survives_two_breaks(
    api: Api, fake: FakePolybatch, input_file: Path, content: Callable[[Path], object]
) -> None:
    fake.faults["UploadFile"] += [Fault(after_bytes=1_500_000), Fault(after_bytes=500_000)]
    file = await api.call("upload", content(input_file))
    assert fake.contents[file.id] == CONTENT
    assert fake.count("UploadFile") == 3
    # Only what had not been committed is sent twice.
    lost = 2 * (SEGMENT_BYTES + CHUNK_BYTES)
    assert fake.received_bytes <= len(CONTENT) + lost


async def test_file_object_is_read_from_where_it_stands(api: Api, fake: FakePolybatch) -> None:
    source = io.BytesIO(b"not this\n" + CONTENT)
    source.seek(len(b"not this\n"))
    fake.faults["UploadFile"].append(Fault(after_bytes=1_500_000))
    file = await api.call("upload", source)
    assert fake.contents[file.id] == CONTENT
    assert not source.closed


async def test_pipe_is_replayed_from_memory(api: Api, fake: FakePolybatch) -> None:
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(CONTENT)

    feeder = threading.Thread(target=feed)
    feeder.start()
    fake.faults["UploadFile"].append(Fault(after_bytes=1_500_000))
    with os.fdopen(reading, "rb") as pipe:
        file = await api.call("upload", pipe, filename="piped")
    feeder.join()
    assert fake.contents[file.id] == CONTENT
    assert file.filename == "piped"


async def test_asynchronous_pieces(fake: FakePolybatch) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(CONTENT), 70_000):
            await asyncio.sleep(0)
            yield CONTENT[at : at + 70_000]

    fake.faults["UploadFile"].append(Fault(after_bytes=1_500_000))
    async with AsyncClient(gateway=fake.address, api_key=API_KEY, retry=QUICK) as client:
        file = await client.upload(pieces())
    assert fake.contents[file.id] == CONTENT


async def test_server_that_restarts_in_the_middle(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    stopped = threading.Event()

    def progress(sent: int, total: int | None) -> None:
        if sent > 2_000_000 and not stopped.is_set():
            stopped.set()
            fake.stop()
            fake.start()

    file = await api.call("upload", input_file, progress=progress)
    assert stopped.is_set()
    assert fake.contents[file.id] == CONTENT
    assert api.retries


async def test_lost_reply_is_fetched_without_sending_again(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    fake.faults["UploadFile"].append(Fault(after_work=True))
    file = await api.call("upload", input_file)
    assert fake.contents[file.id] == CONTENT
    assert fake.received_bytes == len(CONTENT)
    assert len(fake.files) == 1


async def test_status_of_a_stream_ended_early_is_the_servers(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    # grpc.aio puts "Internal error from Core" in its place more often than not.
    for _ in range(10):
        fake.faults["UploadFile"].append(
            Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", "FILE_TOO_LARGE", after_bytes=1)
        )
        with pytest.raises(LimitExceeded) as caught:
            await api.call("upload", input_file)
        assert caught.value.reason == "FILE_TOO_LARGE"


async def test_wrong_offset_is_mended(api: Api, fake: FakePolybatch, input_file: Path) -> None:
    fake.faults["UploadFile"].append(Fault(after_bytes=1_500_000))
    moved = threading.Event()

    def commit_more_late(error: PolybatchError, wait: float) -> None:
        # What the service says after the break is not yet all that it commits.
        [upload] = fake.uploads.values()
        upload.said_less = True
        moved.set()

    api.observe(commit_more_late)
    file = await api.call("upload", input_file)
    assert moved.is_set()
    assert fake.contents[file.id] == CONTENT
    assert fake.count("UploadFile") == 3


async def test_service_that_contradicts_itself_is_not_asked_for_ever(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    misplaced = Fault(grpc.StatusCode.FAILED_PRECONDITION, reason="WRITE_OFFSET_MISMATCH")
    fake.faults["UploadFile"] += [misplaced] * 10
    with pytest.raises(Conflict) as caught:
        await api.call("upload", input_file)
    assert caught.value.reason == "WRITE_OFFSET_MISMATCH"
    assert fake.count("UploadFile") == 4


async def test_what_another_stream_took_back_is_sent_again(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    """Committed when this stream came, and gone again when it asks how much there is."""
    misplaced = Fault(grpc.StatusCode.FAILED_PRECONDITION, reason="WRITE_OFFSET_MISMATCH")
    fake.faults["UploadFile"] += [misplaced] * 2
    file = await api.call("upload", input_file)
    assert fake.contents[file.id] == CONTENT


async def test_upload_that_was_ended_too_soon_is_noticed(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    fake.faults["SubmitBatch"].append(Fault(after_bytes=1_500_000))

    def end_too_soon(error: PolybatchError, wait: float) -> None:
        [upload] = fake.uploads.values()
        upload.file_id = "file_of_a_part"

    api.observe(end_too_soon)
    with pytest.raises(DataError) as caught:
        await api.call("submit", input_file)
    assert caught.value.reason == "UPLOAD_TRUNCATED"


async def test_conflicting_stream_is_waited_for(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    fake.faults["UploadFile"] += [
        Fault(after_bytes=1_500_000),
        Fault(grpc.StatusCode.ABORTED, reason="UPLOAD_CONFLICT"),
    ]
    file = await api.call("upload", input_file)
    assert fake.contents[file.id] == CONTENT


async def test_upload_id_continues_what_another_client_began(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    fake.faults["UploadFile"].append(
        Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="QUOTA", after_bytes=1_500_000)
    )
    with pytest.raises(LimitExceeded):
        await api.call("upload", input_file, upload_id="my-upload-1")
    status = await api.call("upload_status", "my-upload-1")
    assert 0 < status.committed_size < len(CONTENT)
    before = fake.received_bytes
    file = await api.call("upload", input_file, upload_id="my-upload-1")
    assert fake.contents[file.id] == CONTENT
    assert fake.received_bytes - before == len(CONTENT) - status.committed_size
    assert (await api.call("upload_status", "my-upload-1")).complete


async def test_memory_of_a_pipe_is_released_as_it_is_committed(
    api: Api, fake: FakePolybatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polybatch._operations.upload_stream.TAIL_CHECK_BYTES", 2 * CHUNK_BYTES)
    monkeypatch.setattr(sources, "TAIL_LIMIT_BYTES", 8 * CHUNK_BYTES)
    content = CONTENT * 5
    fake.faults["UploadFile"].append(Fault(after_bytes=15_000_000))
    file = await api.call("upload", [content])
    assert fake.contents[file.id] == content
    # It has more chunks than are kept, so the break was survived only by asking.
    assert fake.count("GetUploadStatus") > 1


async def test_pipe_too_far_ahead_cannot_be_resumed(
    api: Api, fake: FakePolybatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TAIL_LIMIT_BYTES", CHUNK_BYTES)
    fake.faults["UploadFile"].append(Fault(after_bytes=3_200_000))

    def lose(error: PolybatchError, wait: float) -> None:
        [upload] = fake.uploads.values()
        upload.committed = 0

    api.observe(lose)
    with pytest.raises(UploadInterrupted) as caught:
        await api.call("upload", iter([CONTENT]))
    assert caught.value.reason == "SOURCE_NOT_SEEKABLE"
    assert caught.value.next_step


async def test_changed_file_is_not_continued(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    def progress(sent: int, total: int | None) -> None:
        if sent > 2_000_000:
            with input_file.open("ab") as file:
                file.write(b"one more\n")

    fake.faults["UploadFile"].append(Fault(after_bytes=2_500_000))
    with pytest.raises(UploadInterrupted) as caught:
        await api.call("upload", input_file, progress=progress)
    assert caught.value.reason == "SOURCE_CHANGED"


@pytest.mark.parametrize("method", ["upload", "submit"])
async def test_truncated_file_is_noticed(
    api: Api, fake: FakePolybatch, input_file: Path, method: str
) -> None:
    def progress(sent: int, total: int | None) -> None:
        os.truncate(input_file, 2_000_000)

    with pytest.raises(DataError) as caught:
        await api.call(method, input_file, progress=progress)
    assert caught.value.reason == "UPLOAD_INCOMPLETE"
    assert not fake.batches


async def test_refusal_is_not_repeated(api: Api, fake: FakePolybatch, input_file: Path) -> None:
    fake.faults["UploadFile"].append(
        Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", "FILE_TOO_LARGE", after_bytes=1)
    )
    with pytest.raises(LimitExceeded) as caught:
        await api.call("upload", input_file)
    assert caught.value.reason == "FILE_TOO_LARGE"
    assert caught.value.next_step == "split the file."
    assert fake.count("UploadFile") == 1
    assert not api.retries


async def test_retry_info_is_obeyed(api: Api, fake: FakePolybatch, input_file: Path) -> None:
    fake.faults["UploadFile"].append(
        Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="BUSY", retry_after=0.3)
    )
    await api.call("upload", input_file)
    [(error, wait)] = api.retries
    assert error.reason == "BUSY"
    assert wait >= 0.3


async def test_gives_up_in_the_end(api: Api, fake: FakePolybatch, input_file: Path) -> None:
    fake.faults["UploadFile"].extend(Fault() for _ in range(1000))
    with pytest.raises(Unavailable):
        await api.call("upload", input_file)
    assert 1 < fake.count("UploadFile") < 1000


async def test_wrong_key(fake: FakePolybatch, input_file: Path) -> None:
    async with AsyncClient(gateway=fake.address, api_key="wrong", retry=QUICK) as client:
        with pytest.raises(Unauthenticated) as caught:
            await client.upload(input_file)
    assert caught.value.reason == "API_KEY_INVALID"
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (7, TypeError),
        ([7], TypeError),
        ([{"temperature": float("nan")}], ValueError),
        ("no-such-file.jsonl", FileNotFoundError),
    ],
)
async def test_what_is_no_source_of_bytes(
    api: Api, content: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await api.call("upload", content)


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ([b'{"a":1}', b'{"b":2}', b"", bytearray(b'{"c":3}')], b'{"a":1}\n{"b":2}\n{"c":3}'),
        ([b'{"a":1}', b'{"b":2}\n', b"{}"], b'{"a":1}\n{"b":2}\n{}'),
        ([b'{"a":1}', {"b": 2}, b"{}", "{}"], b'{"a":1}\n{"b": 2}\n{}\n{}\n'),
        ([b'{"a":1}', b"\n{", b'"b":2}', b"\n"], b'{"a":1}\n{"b":2}\n'),
        ([b'{"a":"', b"{}", b'{}"}\n'], b'{"a":"{}{}"}\n'),
        ([b"{", b'"b":{}}'], b'{"b":{}}'),
    ],
    ids=["lines without ends", "some with", "among others", "cut", "cut in a text", "cut early"],
)
async def test_items_of_bytes_are_lines_or_pieces_of_a_text(
    api: Api, fake: FakePolybatch, content: list[object], sent: bytes
) -> None:
    file = await api.call("upload", content)
    assert fake.contents[file.id] == sent


async def test_an_empty_request_id_is_no_id(api: Api, fake: FakePolybatch) -> None:
    with pytest.raises(ValueError, match="request_id is empty"):
        await api.call("submit", CONTENT, request_id="")
    assert not fake.calls


async def test_error_in_the_callers_iterator_is_the_callers(api: Api, fake: FakePolybatch) -> None:
    def pieces() -> object:
        yield CONTENT
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        await api.call("upload", pieces())
    assert not fake.files


async def test_empty_file(api: Api, fake: FakePolybatch) -> None:
    file = await api.call("upload", b"")
    assert file.bytes == 0
    assert fake.contents[file.id] == b""


async def test_bad_lines_are_no_error_of_an_upload(api: Api, fake: FakePolybatch) -> None:
    file = await api.call("upload", b"{}\nnot json\n{}\n")
    assert not file.valid
    assert file.invalid_line_count == 1
    assert [(p.line, p.reason) for p in file.problems] == [(2, "not_json")]
    report = await api.items("files.validation_report", file.id)
    assert [(p.line, p.reason, p.severity) for p in report] == [(2, "not_json", "error")]


async def test_submit_makes_one_batch_however_often_it_breaks(
    api: Api, fake: FakePolybatch, input_file: Path
) -> None:
    fake.faults["SubmitBatch"] += [Fault(after_bytes=1_500_000), Fault(after_work=True)]
    batch = await api.call(
        "submit",
        input_file,
        metadata={"team": "search"},
        completion_window=timedelta(hours=2),
    )
    assert batch.state is BatchState.VALIDATING
    assert batch.metadata == {"team": "search"}
    assert batch.completion_window == timedelta(hours=2)
    assert list(fake.batches) == [batch.id]
    assert fake.contents[batch.input_file_id] == CONTENT
    specs = [request for name, request in fake.calls if name == "SubmitBatch"]
    assert len({spec.upload.upload_id for spec in specs}) == 1
    assert len({spec.batch.request_id for spec in specs}) == 1
    assert specs[0].batch.request_id


async def test_submit_names_the_bad_lines(api: Api, fake: FakePolybatch) -> None:
    with pytest.raises(InvalidLines) as caught:
        await api.call("submit", b"{}\nbad\nworse\n")
    error = caught.value
    assert [(p.line, p.message) for p in error.problems] == [
        (2, "expected a JSON object"),
        (3, "expected a JSON object"),
    ]
    assert error.file_id in fake.files
    assert error.next_step
    assert "lenient" not in error.next_step
    batch = await api.call("submit", b"{}\nbad\n", skip_invalid_lines=True)
    assert batch.skip_invalid_lines
    assert not batch.lenient_translation


async def test_lenient_batches_are_asked_for_and_offered(api: Api, fake: FakePolybatch) -> None:
    file = await api.call("upload", b"{}\nbad\n")
    assert file.lenient_line_count == 0
    fake.files[file.id].lenient_line_count = 1
    with pytest.raises(InvalidLines) as caught:
        await api.call("create_batch", file)
    assert "--lenient" in caught.value.next_step
    batch = await api.call("create_batch", file, lenient=True, skip_invalid_lines=True)
    assert batch.lenient_translation
    batch = await api.call("submit", b"{}\n", lenient=True)
    assert batch.lenient_translation


def request(number: int) -> dict[str, Any]:
    return {"custom_id": f"r{number}", "body": {"input": "é\u2028" * number}}


async def test_requests_and_text_are_lines(api: Api, fake: FakePolybatch, tmp_path: Path) -> None:
    """Dicts, one or many, lines of text and text files arrive as JSONL in UTF-8."""
    wanted = [request(number) for number in range(3)]
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in wanted), encoding="utf-16")
    with path.open(encoding="utf-16") as text:
        for content, expected in (
            (wanted, wanted),
            ((one for one in wanted), wanted),
            (wanted[1], wanted[1:2]),
            ([json.dumps(one, ensure_ascii=False) for one in wanted], wanted),
            (text, wanted),
            (io.StringIO("{}\n"), [{}]),
        ):
            batch = await api.call("submit", content)
            lines = fake.contents[batch.input_file_id].split(b"\n")
            assert [json.loads(line) for line in lines if line] == expected
    assert fake.files[batch.input_file_id].filename == ""


async def test_a_request_id_holds_for_its_content(api: Api, fake: FakePolybatch) -> None:
    """The same content is continued; other content is another upload, for the service to refuse."""
    first = await api.call("submit", CONTENT, request_id="daily")
    received = fake.received_bytes
    assert (await api.call("submit", CONTENT, request_id="daily")).id == first.id
    assert fake.received_bytes == received
    other = b"{}\n" + CONTENT
    await api.call("submit", other, request_id="daily")
    await api.call("submit", CONTENT, request_id="daily", provider="openai")
    ids = [spec.upload.upload_id for name, spec in fake.calls if name == "SubmitBatch"]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


async def test_what_is_read_once_leaves_no_copy(api: Api, fake: FakePolybatch) -> None:
    """It is uploaded again, for the service to compare, and deleted when it was not needed."""
    first = await api.call("submit", iter([LINE]), request_id="daily")
    again = await api.call("submit", iter([LINE]), request_id="daily")
    assert again.id == first.id
    assert list(fake.files) == [first.input_file_id]


REFUSALS = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "KEY_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "INSUFFICIENT_CREDITS": grpc.StatusCode.FAILED_PRECONDITION,
    "MODEL_NOT_ALLOWED": grpc.StatusCode.PERMISSION_DENIED,
    "BATCHES_LIMIT": grpc.StatusCode.RESOURCE_EXHAUSTED,
}


IN_USE = Fault(grpc.StatusCode.FAILED_PRECONDITION, "a batch reads it", "FILE_IN_USE")


@pytest.mark.parametrize("reason", REFUSALS)
async def test_a_refused_batch_leaves_no_file(api: Api, fake: FakePolybatch, reason: str) -> None:
    refusal = Fault(REFUSALS[reason], "no", reason, {"file_id": "it", "a": "b"}, after_upload=True)
    fake.faults["SubmitBatch"].append(refusal)
    with pytest.raises(PolybatchError) as caught:
        await api.call("submit", LINE)
    assert (caught.value.reason, caught.value.metadata) == (reason, {"a": "b"})
    assert (fake.uploads != {}, fake.files) == (True, {})
    fake.faults["SubmitBatch"].append(refusal)
    fake.faults["DeleteFile"].append(IN_USE)
    with pytest.raises(PolybatchError) as caught:
        await api.call("submit", LINE)
    assert caught.value.reason == reason
    assert caught.value.metadata == {"file_id": max(fake.files), "a": "b"}
    fake.faults["SubmitBatch"].append(refusal)
    fake.faults["GetUploadStatus"].append(Fault(grpc.StatusCode.UNAUTHENTICATED, "revoked"))
    with pytest.raises(PolybatchError) as caught:
        await api.call("submit", LINE)
    assert caught.value.metadata == {"file_id": "it", "a": "b"}, "as the service named it"


async def test_a_file_stays_of_which_there_may_be_a_batch(api: Api, fake: FakePolybatch) -> None:
    refusal = Fault(grpc.StatusCode.PERMISSION_DENIED, "not any more", "SCOPE_MISSING")
    fake.faults["SubmitBatch"] += [Fault(after_work=True), refusal]
    with pytest.raises(PolybatchError):
        await api.call("submit", LINE)
    assert len(fake.batches) == len(fake.files) == 1
    fake.faults["SubmitBatch"].append(refusal)
    with pytest.raises(PolybatchError):
        await api.call("submit", LINE, upload_id=next(iter(fake.uploads)))
    assert fake.count("DeleteFile") == 0


async def test_create_batch_is_repeated_with_its_request_id(api: Api, fake: FakePolybatch) -> None:
    file = await api.call("upload", b"{}\n")
    fake.faults["CreateBatch"].append(Fault())
    await api.call("create_batch", file)
    first, second = [request for name, request in fake.calls if name == "CreateBatch"]
    assert first.request_id == second.request_id != ""
    assert first.input_file_id == file.id


def test_frames_are_what_protobuf_would_write() -> None:
    for length in (1, 127, 128, 16_383, 16_384, CHUNK_BYTES):
        chunk = os.urandom(length)
        assert framed(chunk) == files_pb2.UploadFileRequest(chunk=chunk).SerializeToString()
    assert files_pb2.UploadFileRequest(finish=True).SerializeToString() == FINISH
    assert batches_pb2.SubmitBatchRequest(finish=True).SerializeToString() == FINISH

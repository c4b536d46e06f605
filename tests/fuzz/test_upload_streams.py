"""Upload streams of any messages in any order."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polybatch.v1 import batches_pb2, files_pb2

from tests.fuzz.budget import examples
from tests.fuzz.suite_thread import PATIENCE, SuiteThread
from tests.fuzz.wire_values import TEXTS, documented_codes, messages
from tests.support.gateway.running import line
from tests.support.stores.files import files_below

CODES = documented_codes()
METHODS = {
    "UploadFile": ("/polybatch.v1.FileService/UploadFile", files_pb2.UploadFileRequest),
    "SubmitBatch": ("/polybatch.v1.BatchService/SubmitBatch", batches_pb2.SubmitBatchRequest),
}
# Few, so that streams meet uploads that others have begun or finished.
UPLOAD_IDS = ["", "upload-1", "upload-2", "short", "x" * 65, "../../keys", "a\0bcdefgh"]

contents = st.one_of(
    st.binary(max_size=100),
    st.integers(1, 5).map(lambda count: b"".join(line(f"{at}") + b"\n" for at in range(count))),
    st.sampled_from([b"", b"\n", b"x" * 70_000, b"[" * 100_000, b"\x00" * (1 << 20), line()]),
    st.just(b"x" * ((1 << 20) + 1)),
)


def stream_messages(kind: Any) -> st.SearchStrategy[bytes]:
    """One message of a stream: right ones, wrong ones, and bytes that are none."""
    ids = st.one_of(st.sampled_from(UPLOAD_IDS), TEXTS)
    offsets = st.sampled_from([0, 1, -1, 65536, 2**63 - 1])
    specs = st.builds(
        files_pb2.UploadSpec,
        upload_id=ids,
        filename=TEXTS,
        write_offset=st.one_of(st.just(0), offsets),
    )
    if kind is batches_pb2.SubmitBatchRequest:
        orders = messages(batches_pb2.CreateBatchRequest.DESCRIPTOR)
        specs = st.builds(kind.Spec, upload=specs, batch=orders)
    right = st.one_of(
        specs.map(lambda spec: kind(spec=spec)),
        contents.map(lambda chunk: kind(chunk=chunk)),
        st.booleans().map(lambda finish: kind(finish=finish)),
    ).map(lambda message: message.SerializeToString())
    return st.one_of(right, right, right, st.binary(max_size=20))


@pytest.mark.parametrize("name", METHODS)
@given(data=st.data())
@settings(
    max_examples=examples(80),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_stream_gets_a_documented_code(
    suite: SuiteThread, name: str, data: st.DataObject
) -> None:
    path, kind = METHODS[name]
    begun = data.draw(st.booleans())
    sent = data.draw(st.lists(stream_messages(kind), max_size=6))
    if begun:
        upload = files_pb2.UploadSpec(upload_id=data.draw(st.sampled_from(UPLOAD_IDS)))
        spec = upload if name == "UploadFile" else kind.Spec(upload=upload)
        sent = [kind(spec=spec).SerializeToString(), *sent]
        sent += [kind(finish=True).SerializeToString()] * data.draw(st.integers(0, 1))
    found = suite.call(path, *sent)
    assert found.code.name in CODES[name], found
    if found.code is not grpc.StatusCode.OK:
        assert found.reason, found


OWNERS = (
    "MessageStream",
    "SegmentWriter",
    "Draft",
    "FileServicer",
    "BatchServicer",
    "UploadWriter",
)


def owner(task: asyncio.Task[Any]) -> str:
    """The class whose method a task runs."""
    return str(getattr(task.get_coro(), "__qualname__", "")).partition(".")[0]


def test_a_stream_leaves_nothing_behind(suite: SuiteThread) -> None:
    path, kind = METHODS["UploadFile"]

    for number, ending in enumerate((b"\xff", kind(chunk=b"x" * (2 << 20)).SerializeToString())):
        spec = files_pb2.UploadSpec(upload_id=f"left-behind-{number}")
        chunk = kind(chunk=line() + b"\n" + b"x" * 100_000)
        found = suite.call(
            path, kind(spec=spec).SerializeToString(), chunk.SerializeToString(), ending
        )
        assert found.reason == "MALFORMED_STREAM"

    async def still_running() -> set[Any]:
        found = {task for task in asyncio.all_tasks() if owner(task) in OWNERS}
        return (await asyncio.wait(found, timeout=PATIENCE / 2))[1] if found else set()

    assert not suite.run(still_running)
    blobs = suite.settings.data_dir / "blobs"
    kept = files_below(blobs)
    assert [path for path in kept if path.parts[-3:-1] == ("left-behind-0", "data")]
    unfinished = [path for path in kept if "#" in path.name]
    assert not unfinished

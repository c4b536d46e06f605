"""Batches: made once however often asked for, shown, listed, cancelled, and only their owner's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import batches_pb2, files_pb2
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus import Ack, Bus, Delivery, Step
from core.ledger import Batch, BatchState, Shard, now
from tests.support.collector.ending import end
from tests.support.gateway.racing import freed_at_once
from tests.support.gateway.running import CHAT, Caller, Gateway, line, lines, refused
from tests.support.ledger.rows import reread, shard_row

VALIDATING = batches_pb2.BATCH_STATE_VALIDATING


@pytest.fixture
async def bus(gateway: Gateway) -> AsyncIterator[Bus]:
    connected = await Bus.connect(gateway.settings.nats_url, name="test")
    yield connected
    await connected.close()


class Heard:
    """Collects what is published, and waits for what a test expects."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[BatchEvent] = asyncio.Queue()
        self.work: asyncio.Queue[tuple[Step, str]] = asyncio.Queue()

    async def event(self, batch_id: str) -> BatchEvent:
        async with asyncio.timeout(10):
            while True:
                event = await self.events.get()
                if event.batch_id == batch_id:
                    return event

    async def wake(self, batch_id: str) -> Step:
        async with asyncio.timeout(10):
            while True:
                step, woken = await self.work.get()
                if woken == batch_id:
                    return step


@pytest.fixture
async def heard(bus: Bus) -> Heard:
    heard = Heard()

    def handler(step: Step) -> Any:
        async def handle(item: WorkItem, _delivery: Delivery) -> Ack:
            heard.work.put_nowait((step, item.batch_id))
            return Ack()

        return handle

    await bus.subscribe_events(heard.events.put_nowait)
    for step in (Step.PLAN, Step.STOP):
        await bus.consume(step, handler(step), concurrency=1)
    return heard


async def file_of(caller: Caller, count: int = 3) -> str:
    return (await caller.upload(lines(count))).file.id


async def test_a_batch_is_recorded_and_set_going(gateway: Gateway, heard: Heard) -> None:
    file_id = await file_of(gateway)
    batch = await gateway.create(file_id, metadata={"team": "search"})
    assert (batch.state, batch.revision, batch.display_state) == (VALIDATING, 1, "In Progress")
    assert (batch.input_file_id, batch.endpoint) == (file_id, CHAT)
    counts = batch.request_counts
    assert (counts.total, counts.queued, counts.failed) == (3, 3, 0)
    assert dict(batch.metadata) == {"team": "search"}
    assert batch.completion_window.ToTimedelta() == timedelta(hours=24)
    assert batch.expires_at.ToDatetime() - batch.created_at.ToDatetime() == timedelta(hours=24)
    assert await gateway.get_batch(batch.id) == batch
    event = await heard.event(batch.id)
    assert (event.kind, event.revision, event.state) == (BatchEvent.CREATED, 1, VALIDATING)
    assert await heard.wake(batch.id) == Step.PLAN


async def test_a_request_id_makes_one_batch(gateway: Gateway, heard: Heard) -> None:
    file_id = await file_of(gateway)
    first = await gateway.create(file_id, request_id="r1")
    again = await gateway.create(file_id, request_id="r1")
    assert again == first
    # 0 and the default are the same arguments.
    assert (
        await gateway.create(file_id, request_id="r1", completion_window=Duration(seconds=86_400))
        == first
    )
    other = await gateway.create(file_id, request_id="r2")
    assert other.id != first.id
    assert (await gateway.create(file_id)).id != (await gateway.create(file_id)).id
    assert (await heard.event(first.id)).kind == BatchEvent.CREATED
    assert (await heard.event(other.id)).kind == BatchEvent.CREATED


async def test_many_at_once_with_one_request_id(gateway: Gateway) -> None:
    file_id = await file_of(gateway)
    made = await asyncio.gather(*(gateway.create(file_id, request_id="r1") for _ in range(8)))
    assert len({batch.id for batch in made}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"skip_invalid_lines": True},
        {"metadata": {"a": "b"}, "fail_fast": True},
        {"completion_window": Duration(seconds=60)},
    ],
)
async def test_a_request_id_with_other_arguments(gateway: Gateway, changes: dict[str, Any]) -> None:
    file_id = await file_of(gateway)
    first = await gateway.create(file_id, request_id="r1")
    failure = await refused(gateway.create(file_id, request_id="r1", **changes))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )
    assert failure.metadata == {"batch_id": first.id, "differs": "arguments"}
    assert f"with another {' and '.join(changes)}: " in failure.message


async def test_a_request_id_with_another_file(gateway: Gateway) -> None:
    """The same content is the same request, whatever the upload; other content is not."""
    first = await gateway.create(await file_of(gateway), request_id="r1")
    assert (await gateway.create(await file_of(gateway), request_id="r1")).id == first.id
    other = await file_of(gateway, 9)
    failure = await refused(gateway.create(other, request_id="r1"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert failure.metadata == {"batch_id": first.id, "differs": "content", "file_id": other}
    assert f"made {first.id} of a file with other content" in failure.message


async def test_a_request_id_with_the_same_file_read_otherwise(gateway: Gateway) -> None:
    """Whose its lines are was said with the upload."""
    body = b'{"model":"of-nobody","messages":[{"role":"user","content":"hi"}],"max_tokens":5}'
    content = b'{"custom_id":"a","method":"POST","url":"%b","body":%b}\n' % (CHAT.encode(), body)
    first = await gateway.submit(content, default_provider="openai", request_id="r1")
    failure = await refused(gateway.submit(content, default_provider="anthropic", request_id="r1"))
    assert (failure.reason, failure.metadata["differs"]) == ("REQUEST_ID_REUSED", "defaults")
    assert failure.metadata["batch_id"] == first.id
    assert "with another default provider or model" in failure.message


async def test_a_request_id_that_is_free_again_as_it_is_found_taken(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (await gateway.upload(lines(2))).file
    earlier = await gateway.create(file.id, request_id="r", name="earlier")
    await end(gateway.ledger, gateway.blobs, earlier.id, {})
    freed_at_once(gateway, earlier.id, monkeypatch)
    made = await gateway.create(file.id, request_id="r", name="later")
    assert (made.id != earlier.id, made.name) == (True, "later")


async def test_request_ids_of_two_accounts_do_not_meet(gateway: Gateway) -> None:
    stranger = await gateway.another_account()
    mine = await gateway.create(await file_of(gateway), request_id="r1")
    theirs = await stranger.create(await file_of(stranger), request_id="r1")
    assert mine.id != theirs.id


async def test_a_request_id_outlives_its_file(gateway: Gateway) -> None:
    file_id = await file_of(gateway)
    batch = await gateway.create(file_id, request_id="r1")
    await gateway.ledger.batches.fail(batch.id, "test", "ended")
    await gateway.delete(file_id)
    assert (await gateway.create(file_id, request_id="r1")).id == batch.id


@pytest.mark.parametrize(
    ("batch_args", "field"),
    [
        ({"input_file_id": ""}, "input_file_id"),
        ({"request_id": "é" * 65}, "request_id"),
        ({"completion_window": Duration(nanos=999_999_999)}, "completion_window"),
        ({"completion_window": Duration(seconds=-1)}, "completion_window"),
        ({"completion_window": Duration(seconds=7 * 86_400, nanos=1_000)}, "completion_window"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"": "x"}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata[k]"),
    ],
)
async def test_fields_out_of_range(
    gateway: Gateway, batch_args: dict[str, Any], field: str
) -> None:
    request = batches_pb2.CreateBatchRequest(**({"input_file_id": "file_x"} | batch_args))
    failure = await refused(gateway.batches.CreateBatch(request, metadata=gateway.metadata))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [name for name, _ in failure.violations] == [field]


async def test_fields_at_their_limits(gateway: Gateway) -> None:
    file_id = await file_of(gateway)
    metadata = {f"{n:064}": "é" * 512 for n in range(16)}
    batch = await gateway.create(
        file_id,
        request_id="r" * 128,
        metadata=metadata,
        completion_window=Duration(seconds=7 * 86_400),
    )
    assert dict(batch.metadata) == metadata
    assert batch.completion_window.seconds == 7 * 86_400
    short = await gateway.create(file_id, completion_window=Duration(seconds=1, nanos=500_000_000))
    assert short.completion_window.ToMilliseconds() == 1500


async def test_submit_uploads_and_creates(gateway: Gateway, heard: Heard) -> None:
    content = lines(4)
    batch = await gateway.submit(content, upload_id="upload-1", metadata={"a": "b"})
    assert (batch.request_counts.total, dict(batch.metadata)) == (4, {"a": "b"})
    assert await gateway.download(batch.input_file_id) == content
    assert await heard.wake(batch.id) == Step.PLAN
    # Finished: the same upload id gives the same batch, with or without the bytes.
    assert await gateway.submit(content, upload_id="upload-1", metadata={"a": "b"}) == batch
    assert await gateway.submit(b"", upload_id="upload-1", metadata={"a": "b"}) == batch
    failure = await refused(gateway.submit(b"", upload_id="upload-1"))
    assert failure.reason == "REQUEST_ID_REUSED"


async def test_submits_without_ids_make_a_batch_each(gateway: Gateway) -> None:
    first, second = await gateway.submit(lines(1)), await gateway.submit(lines(1))
    assert first.id != second.id


async def test_submit_with_a_request_id(gateway: Gateway) -> None:
    first = await gateway.submit(lines(1), upload_id="upload-1", request_id="r1")
    assert await gateway.submit(b"", upload_id="upload-1", request_id="r1") == first
    assert await gateway.create(first.input_file_id, request_id="r1") == first


async def test_submit_with_bad_lines_keeps_the_file(gateway: Gateway) -> None:
    content = lines(1) + b"no\n"
    failure = await refused(gateway.submit(content, upload_id="upload-1"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_LINES")
    assert failure.metadata["file_id"] == (await gateway.status("upload-1")).file_id
    batch = await gateway.submit(content, upload_id="upload-1", skip_invalid_lines=True)
    assert (batch.request_counts.total, batch.request_counts.failed) == (2, 1)


async def test_arguments_are_refused_at_the_first_message(gateway: Gateway) -> None:
    """Before a byte of the file came, and while the client may still send."""
    uploads = [
        files_pb2.UploadSpec(default_provider="nobody"),
        files_pb2.UploadSpec(filename="é" * 200),
    ]
    batches = [
        {"completion_window": Duration(seconds=8 * 86_400)},
        {"metadata": {"k" * 65: "x"}},
        {"request_id": "r" * 129},
    ]
    submits = [batches_pb2.SubmitBatchRequest.Spec(upload=spec) for spec in uploads] + [
        batches_pb2.SubmitBatchRequest.Spec(batch=batches_pb2.CreateBatchRequest(**fields))
        for fields in batches
    ]
    calls = [
        (gateway.files.UploadFile, files_pb2.UploadFileRequest(spec=spec)) for spec in uploads
    ] + [
        (gateway.batches.SubmitBatch, batches_pb2.SubmitBatchRequest(spec=spec)) for spec in submits
    ]
    for method, first in calls:
        call = method(metadata=gateway.metadata)
        await call.write(first)
        assert (await refused(call)).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_submit_refuses_bad_arguments_before_the_upload(gateway: Gateway) -> None:
    failure = await refused(
        gateway.submit(lines(1), upload_id="upload-1", metadata={"k" * 65: "x"})
    )
    assert failure.reason == "INVALID_FIELD"
    assert await gateway.ledger.files.stale_uploads(now(), 10) == []
    for messages in ([], [batches_pb2.SubmitBatchRequest(chunk=b"x")]):
        failure = await refused(
            gateway.batches.SubmitBatch(iter(messages), metadata=gateway.metadata)
        )
        assert failure.reason == "MALFORMED_STREAM"


async def test_a_broken_submit_is_resumed(gateway: Gateway) -> None:
    content = lines(700, size=400)
    kind = batches_pb2.SubmitBatchRequest
    call = gateway.batches.SubmitBatch(metadata=gateway.metadata)
    await call.write(kind(spec={"upload": {"upload_id": "upload-1"}}))
    await call.write(kind(chunk=content[:100_000]))
    await call.done_writing()
    assert (await refused(call)).reason == "UPLOAD_UNFINISHED"
    batch = await gateway.submit(content, upload_id="upload-1", offset=100_000)
    assert batch.request_counts.total == 700
    assert await gateway.download(batch.input_file_id) == content


async def test_pages_of_batches(gateway: Gateway) -> None:
    file_id = await file_of(gateway)
    ids = [(await gateway.create(file_id)).id for _ in range(5)]
    stranger = await gateway.another_account()
    await stranger.submit(lines(1))
    await gateway.cancel(ids[2])

    async def listed(**request: Any) -> batches_pb2.ListBatchesResponse:
        return await gateway.batches.ListBatches(
            batches_pb2.ListBatchesRequest(**request), metadata=gateway.metadata
        )

    first = await listed(page_size=3)
    rest = await listed(page_size=3, page_token=first.next_page_token)
    assert [batch.id for batch in (*first.batches, *rest.batches)] == ids[::-1]
    assert rest.next_page_token == ""
    cancelling = await listed(states=[batches_pb2.BATCH_STATE_CANCELLING])
    assert [batch.id for batch in cancelling.batches] == [ids[2]]
    two = await listed(states=[VALIDATING, batches_pb2.BATCH_STATE_FAILED], page_size=3)
    assert [batch.id for batch in two.batches] == [ids[4], ids[3], ids[1]]

    failure = await refused(listed(page_token="nonsense"))
    assert failure.reason == "PAGE_TOKEN_INVALID"
    for state in (0, 99):
        failure = await refused(listed(states=[state]))
        assert (failure.reason, failure.violations[0][0]) == ("INVALID_FIELD", "states")


@pytest.mark.parametrize("whose", ["nobody's", "another account's"])
async def test_batches_that_are_not_there(gateway: Gateway, whose: str) -> None:
    batch_id = "batch_00000000000000000000"
    if whose == "another account's":
        batch_id = (await (await gateway.another_account()).submit(lines(1))).id
    for call in (gateway.get_batch(batch_id), gateway.cancel(batch_id)):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "BATCH_NOT_FOUND")


async def test_cancelling(gateway: Gateway, heard: Heard) -> None:
    batch = await gateway.create(await file_of(gateway))
    cancelled = await gateway.cancel(batch.id)
    assert cancelled.state == batches_pb2.BATCH_STATE_CANCELLING
    assert cancelled.revision == batch.revision + 1
    assert (await heard.event(batch.id)).kind == BatchEvent.CREATED
    event = await heard.event(batch.id)
    assert (event.kind, event.revision) == (BatchEvent.CANCEL_REQUESTED, cancelled.revision)
    assert {await heard.wake(batch.id), await heard.wake(batch.id)} == {Step.PLAN, Step.STOP}
    assert await gateway.cancel(batch.id) == cancelled


def shard_of(batch: Batch) -> Shard:
    return shard_row(batch, endpoint=CHAT, line_count=3, byte_count=300)


async def planned(gateway: Gateway) -> str:
    """A batch whose one shard is in the ledger."""
    made = await gateway.create(await file_of(gateway))
    row = await reread(gateway.ledger, made)
    assert isinstance(await gateway.ledger.batches.plan(made.id, [shard_of(row)]), Batch)
    return made.id


async def test_a_running_batch_shows_its_shards_and_can_be_cancelled(gateway: Gateway) -> None:
    batch_id = await planned(gateway)
    shown = await gateway.get_batch(batch_id)
    assert shown.state == batches_pb2.BATCH_STATE_IN_PROGRESS
    assert [(shard.provider, shard.line_count) for shard in shown.shards] == [("openai", 3)]
    assert (await gateway.cancel(batch_id)).state == batches_pb2.BATCH_STATE_CANCELLING


async def test_cancelling_what_has_ended(gateway: Gateway) -> None:
    failed = await gateway.create(await file_of(gateway))
    await gateway.ledger.batches.fail(failed.id, "test", "ended")
    failure = await refused(gateway.cancel(failed.id))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "BATCH_ENDED",
    )
    cancelled = await planned(gateway)
    await gateway.cancel(cancelled)
    await gateway.ledger.batches.settle_queued(cancelled)
    ended = await gateway.ledger.batches.end(
        cancelled, BatchState.CANCELLED, "", succeeded=0, failed=3
    )
    assert isinstance(ended, Batch)
    assert (await gateway.cancel(cancelled)).state == batches_pb2.BATCH_STATE_CANCELLED


async def test_a_batch_of_a_line_without_a_stated_provider(gateway: Gateway) -> None:
    batch = await gateway.submit(line(provider=...))
    assert batch.request_counts.queued == 1


async def test_a_refused_file_can_be_kept_as_a_failed_batch(gateway: Gateway, heard: Heard) -> None:
    content = line("a") + b"\n{\n" + line("c", method="GET") + b"\n"
    file = (await gateway.upload(content)).file
    order = {"keep_refused": True, "request_id": "once"}
    batch = await gateway.create(file.id, **order)
    assert batch.state == batches_pb2.BATCH_STATE_FAILED
    assert [(each.line, each.code, each.field) for each in batch.errors] == [
        (2, "invalid_json", ""),
        (3, "unsupported_method", "method"),
    ]
    assert batch.HasField("failed_at")
    assert (batch.request_counts.total, batch.request_counts.failed) == (3, 3)
    assert (await gateway.create(file.id, **order)).id == batch.id
    kinds = [(await heard.event(batch.id)).kind for _ in range(2)]
    assert kinds == [BatchEvent.CREATED, BatchEvent.ENDED]
    # Nothing reads the file: it can go.
    await gateway.delete(file.id)
    assert (await gateway.get_batch(batch.id)).state == batches_pb2.BATCH_STATE_FAILED
    empty = (await gateway.upload(b"\n")).file
    [error] = (await gateway.create(empty.id, keep_refused=True)).errors
    assert error.code == "no_valid_lines"
    # What lies in the call and not in the file is refused as ever.
    missing = (await gateway.upload(line(provider="gemini", body=...) + b"\n")).file
    assert missing.invalid_line_count == 1
    assert (await refused(gateway.create(file.id, keep_refused=True))).reason == "FILE_NOT_FOUND"

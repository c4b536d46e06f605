"""Finding, naming and deleting batches over the API; retention, as it is asked for and set."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import batches_pb2, files_pb2

from core.ledger import BatchState
from tests.support.gateway.running import FINISH, Caller, Gateway, StartGateway, lines, refused


async def found(caller: Caller, filter: str, **more: Any) -> batches_pb2.ListBatchesResponse:
    request = batches_pb2.ListBatchesRequest(filter=filter, **more)
    return await caller.batches.ListBatches(request, metadata=caller.metadata)


async def test_batches_are_found_by_what_they_are(gateway: Gateway) -> None:
    caller: Caller = gateway
    file = (await caller.upload(lines(2))).file
    made = [
        await caller.create(
            file.id, name=f"nightly {n}", metadata={"team": "search" if n % 2 else "ads"}
        )
        for n in range(5)
    ]
    assert made[3].name == "nightly 3"
    page = await found(caller, 'name:NIGHT AND metadata.team = "search" AND state = VALIDATING')
    assert [batch.id for batch in page.batches] == [made[3].id, made[1].id]
    model = f'model = "{file.models[0].model}" AND key = {made[0].key_id}'
    first = await found(caller, model, page_size=2)
    rest = await found(caller, model, page_size=3, page_token=first.next_page_token)
    assert [batch.id for batch in [*first.batches, *rest.batches]] == [
        batch.id for batch in reversed(made)
    ]
    for other in ("", "name:night"):
        failure = await refused(found(caller, other, page_token=first.next_page_token))
        assert failure.reason == "PAGE_TOKEN_INVALID"
    failure = await refused(found(caller, "stat = FAILED"))
    assert failure.reason == "INVALID_FIELD"
    assert failure.violations[0][0] == "filter"
    assert "at character 1" in failure.violations[0][1]


async def test_a_deleted_batch_is_there_for_nobody(gateway: Gateway) -> None:
    caller: Caller = gateway
    file = (await caller.upload(lines(2))).file
    batch = await caller.create(file.id, request_id="once", name="mine")

    def delete(batch_id: str) -> Any:
        request = batches_pb2.DeleteBatchRequest(batch_id=batch_id)
        return caller.batches.DeleteBatch(request, metadata=caller.metadata)

    assert (await refused(delete(batch.id))).reason == "BATCH_NOT_ENDED"
    await gateway.ledger.batches.fail(batch.id, "x", "no")
    stranger = await gateway.another_account()
    other = stranger.batches.DeleteBatch(
        batches_pb2.DeleteBatchRequest(batch_id=batch.id), metadata=stranger.metadata
    )
    assert (await refused(other)).reason == "BATCH_NOT_FOUND"
    await delete(batch.id)
    for call in (delete(batch.id), caller.get_batch(batch.id), caller.cancel(batch.id)):
        assert (await refused(call)).reason == "BATCH_NOT_FOUND"
    assert not (await found(caller, "")).batches
    assert not (await found(caller, "name:mine")).batches
    again = await caller.create(file.id, request_id="once", name="mine")
    assert again.id != batch.id, "its request id is free again"


async def test_how_long_results_are_kept(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(results_retention=7200.0)
    caller: Caller = gateway
    file = (await caller.upload(lines(2))).file

    async def kept(**order: Any) -> timedelta | None:
        batch = await caller.create(file.id, **order)
        failed = await gateway.ledger.batches.fail(batch.id, "x", "no")
        assert failed.state == BatchState.FAILED
        shown = await caller.get_batch(batch.id)
        if not shown.HasField("results_expire_at"):
            return None
        return shown.results_expire_at.ToDatetime() - shown.failed_at.ToDatetime()

    second = timedelta(seconds=1)
    as_set = await kept()
    assert as_set is not None
    assert abs(as_set - timedelta(hours=2)) < second
    asked = await kept(results_retention=Duration(seconds=3600))
    assert asked is not None
    assert abs(asked - timedelta(hours=1)) < second
    row = await gateway.ledger.batches.get((await found(caller, "")).batches[0].id)
    assert row is not None
    await gateway.ledger.accounts.update(row.account_id, retention_seconds=86_400.0)
    of_account = await kept()
    assert of_account is not None
    assert abs(of_account - timedelta(days=1)) < second
    failure = await refused(caller.create(file.id, results_retention=Duration(seconds=60)))
    assert failure.violations[0][0] == "results_retention"


async def test_a_file_may_be_kept_for_some_time_only(gateway: Gateway) -> None:
    caller: Caller = gateway
    kind = files_pb2.UploadFileRequest
    hour, day = Duration(seconds=3600), Duration(seconds=86_400)

    async def upload(*messages: files_pb2.UploadFileRequest) -> files_pb2.File:
        answer = await caller.files.UploadFile(iter([*messages, FINISH]), metadata=caller.metadata)
        return answer.file

    def kept(file: files_pb2.File) -> int:
        return int(file.expires_at.seconds - file.created_at.seconds)

    chunk = kind(chunk=lines(1))
    in_spec = await upload(kind(spec=files_pb2.UploadSpec(expires_after=hour)), chunk)
    assert kept(in_spec) == 3600
    behind = await upload(kind(spec=files_pb2.UploadSpec()), chunk, kind(expires_after=day))
    assert kept(behind) == 86_400
    assert not (await upload(kind(spec=files_pb2.UploadSpec()), chunk)).HasField("expires_at")
    short = files_pb2.UploadSpec(expires_after=Duration(seconds=1))
    assert (await refused(upload(kind(spec=short), chunk))).reason == "MALFORMED_STREAM"

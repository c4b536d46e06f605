"""Retries: batches of the lines of another that did not succeed, each line in one of them."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import batches_pb2, results_pb2

from core.failpoints import Failpoint
from core.ledger import ResultsGone, now
from core.serving import ApiError, Principal
from services.collector.results import ResultService
from services.gateway.creating import BatchMaker
from services.gateway.retry_lines import RetryLines
from tests.support.collector.ending import assemble, end, plan, settle
from tests.support.gateway.racing import freed_at_once
from tests.support.gateway.running import Failure, Gateway, line, lines, refused
from tests.support.principals import speaking_as
from tests.unit.collector.test_late import at_provider


def retry(gateway: Gateway, batch_id: str, **asked: Any) -> Any:
    request = batches_pb2.RetryBatchRequest(batch_id=batch_id, **asked)
    return gateway.batches.RetryBatch(request, metadata=gateway.metadata)


async def ended(
    gateway: Gateway, outcomes: dict[int, str], content: bytes = b"", **order: Any
) -> batches_pb2.Batch:
    """A batch of five lines, unless there is other content, that cost 7 nano-dollars each."""
    made = await gateway.submit(content or lines(5), **order)
    await end(gateway.ledger, gateway.blobs, made.id, outcomes, nanos=7)
    return await gateway.get_batch(made.id)


async def numbers(gateway: Gateway, batch_id: str) -> list[int]:
    """Of the lines of a batch, by its results; all succeed."""
    await end(gateway.ledger, gateway.blobs, batch_id, {}, nanos=3)
    return [number_of(raw) for raw in (await results(gateway, batch_id))[1]]


def number_of(raw: bytes) -> int:
    return int(json.loads(raw)["id"].rpartition("-")[2])


async def results(
    gateway: Gateway, batch_id: str, **asked: Any
) -> tuple[results_pb2.ResultsHeader, list[bytes]]:
    batch = await gateway.ledger.batches.get(batch_id)
    assert batch is not None
    service = ResultService(gateway.ledger, gateway.blobs)
    request = results_pb2.DownloadResultsRequest(batch_id=batch_id, **asked)
    header, chunks = results_pb2.ResultsHeader(), []
    with speaking_as(Principal(batch.account_id, "")):
        async for reply in service.DownloadResults(request, cast(Any, None)):
            if reply.HasField("header"):
                header = reply.header
            chunks.append(reply.chunk)
    return header, b"".join(chunks).splitlines()


async def merged(gateway: Gateway, batch_id: str, **asked: Any) -> list[dict[str, Any]]:
    _, found = await results(gateway, batch_id, merged=True, **asked)
    return [json.loads(raw) for raw in found]


async def test_what_failed_is_run_once_more(gateway: Gateway) -> None:
    content = b"\n".join(
        [
            line("a"),
            b"",
            line("b"),
            line(
                "c", body={"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hi"}]}
            ),
            line("d"),
            b"",
        ]
    )
    parent = await ended(
        gateway, {3: "refused", 4: "batch_expired"}, content, metadata={"team": "x"}, fail_fast=True
    )
    child = await retry(gateway, parent.id, name="again", request_id="again")
    assert (child.parent_batch_id, child.request_counts.total) == (parent.id, 2)
    assert (dict(child.metadata), child.fail_fast) == ({"team": "x"}, True)
    file = await gateway.get_file(child.input_file_id)
    assert await gateway.download(file.id) == line("b") + b"\n" + content.split(b"\n")[3] + b"\n"
    assert {(each.model, each.line_count) for each in file.models} == {
        ("openai/gpt-4.1", 1),
        ("gpt-4.1-mini", 1),
    }
    fresh = await gateway.get_batch(parent.id)
    assert list(fresh.child_batch_ids) == [child.id]
    assert fresh.revision > parent.revision, "whoever watches it is told"
    assert await numbers(gateway, child.id) == [3, 4], "as in the file that was uploaded"
    again = await retry(gateway, parent.id, name="again", request_id="again")
    assert again.id == child.id
    failure = await refused(retry(gateway, parent.id, request_id="again"))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )
    failure = await refused(retry(gateway, parent.id))
    assert failure.reason == "NOTHING_TO_RETRY"
    assert not await gateway.ledger.files.stale_uploads(now() + timedelta(hours=1), 10)


async def test_by_code_and_cause(gateway: Gateway) -> None:
    parent = await ended(gateway, {1: "refused", 2: "odd", 5: "odd"})
    odd = await retry(gateway, parent.id, codes=["odd", "other"])
    assert await numbers(gateway, odd.id) == [2, 5]
    failure = await refused(retry(gateway, parent.id, cause_ids=["0123456789ab"]))
    assert failure.reason == "NOTHING_TO_RETRY"
    service = ResultService(gateway.ledger, gateway.blobs)
    batch = await gateway.ledger.batches.get(parent.id)
    assert batch is not None
    with speaking_as(Principal(batch.account_id, "")):
        request = results_pb2.ListFailureCausesRequest(batch_id=parent.id)
        causes = (await service.ListFailureCauses(request, cast(Any, None))).causes
    [refusal] = [cause.id for cause in causes if cause.code == "refused"]
    assert await numbers(gateway, (await retry(gateway, parent.id, cause_ids=[refusal])).id) == [1]
    failure = await refused(retry(gateway, parent.id, codes=[""]))
    assert failure.violations[0][0] == "codes"


@pytest.mark.long
async def test_lines_that_another_retry_may_answer_are_left_to_it(gateway: Gateway) -> None:
    """While it runs, once it has answered them, and while a provider may answer it late."""
    parent = await ended(gateway, {1: "a", 2: "b", 3: "c", 4: "d"})
    first = await retry(gateway, parent.id, codes=["a", "b"])
    second = await retry(gateway, parent.id, codes=["b", "c"])
    assert await numbers(gateway, second.id) == [3], "the first one has line 2"
    for shard in await plan(gateway.ledger, gateway.blobs, first.id, shards=2):
        sent = await at_provider(gateway.ledger, shard)
        if not shard.ordinal:
            await settle(gateway.ledger, gateway.blobs, sent, {1: "a"})
            continue
        await gateway.ledger.batches.cancel(first.id)
        await gateway.ledger.late.give_up(sent, "batch_cancelled", "not waited for", now())
    await assemble(gateway.ledger, gateway.blobs, first.id)
    third = await retry(gateway, parent.id)
    assert await numbers(gateway, third.id) == [1, 4], "line 2 is still at a provider"


async def test_lines_of_a_retry_that_its_parent_was_retried_for_again(gateway: Gateway) -> None:
    """They are with another retry of the family, though not with one of the retry itself."""
    parent = await ended(gateway, {2: "x", 3: "x", 4: "x"})
    first = await retry(gateway, parent.id)
    await end(gateway.ledger, gateway.blobs, first.id, {2: "x", 3: "x", 4: "x"})
    second = await retry(gateway, parent.id)
    failure = await refused(retry(gateway, first.id))
    assert failure.reason == "NOTHING_TO_RETRY", "the second one runs them"
    await end(gateway.ledger, gateway.blobs, second.id, {3: "x", 4: "x"})
    third = await retry(gateway, second.id)
    assert await numbers(gateway, third.id) == [3, 4]
    failure = await refused(retry(gateway, first.id))
    assert failure.reason == "NOTHING_TO_RETRY", "others have answered them"


async def test_what_is_awaited_or_was_bad_from_the_start_is_not_retried(gateway: Gateway) -> None:
    content = line("a") + b"\nno json\n" + line("b") + b"\n" + line("c") + b"\n"
    parent = await gateway.submit(content, skip_invalid_lines=True)
    one, two, three = await plan(gateway.ledger, gateway.blobs, parent.id, shards=3)
    await settle(gateway.ledger, gateway.blobs, one, {})
    sent = await at_provider(gateway.ledger, two)
    failure = await refused(retry(gateway, parent.id))
    assert failure.reason == "BATCH_NOT_ENDED"
    await settle(gateway.ledger, gateway.blobs, three, {4: "odd"})
    await gateway.ledger.batches.cancel(parent.id)
    await gateway.ledger.late.give_up(sent, "batch_cancelled", "not waited for", now())
    await assemble(gateway.ledger, gateway.blobs, parent.id)
    child = await retry(gateway, parent.id)
    assert await numbers(gateway, child.id) == [4]


async def test_two_at_once_share_the_lines(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have chosen the same lines before either is recorded: the later one chooses anew."""
    parent = await ended(gateway, {1: "a", 2: "b", 3: "b"})
    both, chosen = asyncio.Barrier(2), RetryLines.chosen
    waiting = [True, True]

    async def together(*args: Any) -> Any:
        async for group in chosen(*args):
            yield group
        if waiting and waiting.pop():
            await both.wait()

    monkeypatch.setattr(RetryLines, "chosen", together)
    found = await asyncio.gather(
        retry(gateway, parent.id, codes=["a", "b"]),
        retry(gateway, parent.id, codes=["b"]),
        return_exceptions=True,
    )
    made = [batch for batch in found if isinstance(batch, batches_pb2.Batch)]
    taken = [number for batch in made for number in await numbers(gateway, batch.id)]
    assert sorted(taken) in ([1, 2, 3], [2, 3]), "none of them twice, none of them lost"
    refusals = [Failure(error) for error in found if isinstance(error, grpc.aio.AioRpcError)]
    assert [refusal.reason for refusal in refusals] == ["NOTHING_TO_RETRY"] * (2 - len(made))


async def test_a_family_as_one_file(gateway: Gateway) -> None:
    """Line 1 succeeds at once, 2 in the first retry, 3 in a retry of that, 4 never, 5 late."""
    parent = await ended(gateway, {2: "x", 3: "x", 4: "x", 5: "x"})
    child = await retry(gateway, parent.id)
    header, _ = await results(gateway, parent.id, merged=True)
    assert header.incomplete
    await end(gateway.ledger, gateway.blobs, child.id, {3: "y", 4: "y", 5: "y"}, nanos=5)
    grandchild = await retry(gateway, child.id)
    assert (await gateway.get_batch(grandchild.id)).parent_batch_id == child.id
    await end(gateway.ledger, gateway.blobs, grandchild.id, {4: "z", 5: "z"}, nanos=2)
    header, _ = await results(gateway, parent.id, merged=True)
    assert (header.incomplete, header.line_count) == (False, 5)
    found = await merged(gateway, parent.id)
    assert [each["id"] for each in found] == [f"{parent.id}-{number}" for number in range(1, 6)]
    ran = [(each["response"] or {"body": {"of": ""}})["body"]["of"] for each in found]
    assert ran == [parent.id, child.id, grandchild.id, "", ""]
    assert [(each["error"] or {"code": ""})["code"] for each in found] == ["", "", "", "z", "z"]
    costs = [round(each["cost"] * 1e9) for each in found]
    assert costs == [7, 12, 14, 14, 14], "what each has cost in all"
    family = (await gateway.get_batch(parent.id)).cost.family
    assert family.nanos == sum(costs)
    assert [each["id"] for each in await merged(gateway, parent.id, after_line=3)] == [
        f"{parent.id}-4",
        f"{parent.id}-5",
    ]
    failed = await merged(gateway, parent.id, filter=results_pb2.RESULT_FILTER_FAILED)
    assert len(failed) == 2
    of_child = await merged(gateway, child.id)
    assert [each["id"] for each in of_child] == [f"{child.id}-{number}" for number in range(2, 6)]
    last = await retry(gateway, parent.id)
    assert await numbers(gateway, last.id) == [4, 5], "from the first on, what nobody has answered"


async def test_an_input_that_was_deleted(gateway: Gateway) -> None:
    parent = await ended(gateway, {2: "x"})
    child = await retry(gateway, parent.id)
    await gateway.delete(parent.input_file_id)
    await end(gateway.ledger, gateway.blobs, child.id, {2: "x"})
    failure = await refused(retry(gateway, parent.id))
    assert failure.reason == "INPUT_GONE"
    assert await numbers(gateway, (await retry(gateway, child.id)).id) == [2], "a copy of its own"


async def test_results_of_a_parent_that_were_deleted(gateway: Gateway) -> None:
    """It ran, so nobody is told to run all of its file."""
    parent = await ended(gateway, {2: "x"})
    [row] = await gateway.ledger.batches.get_many([parent.id])
    await gateway.ledger.removal.delete_results(row.account_id, parent.id, ResultsGone.ALL)
    failure = await refused(retry(gateway, parent.id))
    assert failure.reason == "RESULTS_DELETED"


async def test_a_caller_that_goes_away_finds_the_batch_later(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = await ended(gateway, {2: "x"})
    going, on = asyncio.Event(), asyncio.Event()
    chosen = RetryLines.chosen

    async def slowly(*args: Any) -> Any:
        going.set()
        await on.wait()
        async for group in chosen(*args):
            yield group

    monkeypatch.setattr(RetryLines, "chosen", slowly)
    first = retry(gateway, parent.id, request_id="once")
    await going.wait()
    first.cancel()
    second = asyncio.ensure_future(_reply(retry(gateway, parent.id, request_id="once")))
    on.set()
    child = await second
    family = await gateway.ledger.families.members(parent.id)
    assert [batch.id for batch in family] == [parent.id, child.id]


async def _reply(call: Any) -> batches_pb2.Batch:
    found: batches_pb2.Batch = await call
    return found


@pytest.mark.long
async def test_a_shorter_window_than_its_parents_rescue(gateway: Gateway) -> None:
    """What the retry was not asked for does not refuse it."""
    hours = Duration(seconds=2 * 3600)
    parent = await ended(gateway, {2: "x", 3: "y"}, rescue_before=hours)
    short = await retry(gateway, parent.id, codes=["x"], completion_window=Duration(seconds=3600))
    assert not short.HasField("rescue_before")
    assert (await retry(gateway, parent.id, codes=["y"])).rescue_before == hours


async def test_results_of_a_retry_that_were_deleted(gateway: Gateway) -> None:
    """Its parent's file does not bring them back."""
    parent = await ended(gateway, {2: "x", 3: "x"})
    child = await retry(gateway, parent.id)
    await end(gateway.ledger, gateway.blobs, child.id, {3: "y"})
    assert [each["error"] is None for each in await merged(gateway, parent.id)][1:3] == [
        True,
        False,
    ]
    account = (await gateway.ledger.batches.get_many([parent.id]))[0].account_id
    await gateway.ledger.removal.delete_results(account, child.id, ResultsGone.SUCCEEDED)
    found = await merged(gateway, parent.id)
    assert [(each["error"] or {"code": ""})["code"] for each in found] == ["", "x", "y", "", ""]


@pytest.mark.parametrize("kind", ["merged", "partial"])
@pytest.mark.long
async def test_a_batch_that_is_deleted_under_a_download(gateway: Gateway, kind: str) -> None:
    parent = await ended(gateway, {2: "x"})
    [batch] = await gateway.ledger.batches.get_many([parent.id])
    service = ResultService(gateway.ledger, gateway.blobs)
    asked: dict[str, Any] = {kind: True}
    request = results_pb2.DownloadResultsRequest(batch_id=parent.id, after_line=1, **asked)
    with speaking_as(Principal(batch.account_id, "")):
        replies = aiter(service.DownloadResults(request, cast(Any, None)))
        assert (await anext(replies)).HasField("header")
        await gateway.ledger.removal.delete(batch.account_id, batch.id)
        await gateway.blobs.delete_prefix(f"batches/{batch.id}", point=Failpoint.BATCH_BLOBS_DELETE)
        with pytest.raises(ApiError) as refusal:
            await anext(replies)
    assert refusal.value.reason == "BATCH_NOT_FOUND"


async def test_a_caller_who_leaves_as_the_retry_is_made_leaves_it_its_lines(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = await ended(gateway, {3: "refused"})

    async def leave(*_made: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(BatchMaker, "_announce", leave)
    await refused(retry(gateway, parent.id))
    [child] = (await gateway.get_batch(parent.id)).child_batch_ids
    made = await gateway.get_batch(child)
    assert await gateway.download(made.input_file_id) == line("id-3") + b"\n"


async def test_a_retry_that_goes_while_lines_are_chosen(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sibling that ran as the family was read, half of the input is deleted when it is."""
    parent = await ended(gateway, {2: "x", 3: "y"})
    sibling = await retry(gateway, parent.id, codes=["x"])
    [row] = await gateway.ledger.batches.get_many([sibling.id])
    file = await gateway.ledger.files.get_input(row)
    assert file is not None
    left_out, families = RetryLines._left_out, []

    async def swept(self: RetryLines, *args: Any) -> Any:
        families.append([batch.ended for batch in args[1]])
        if len(families) == 1:
            await end(gateway.ledger, gateway.blobs, sibling.id, {})
            await gateway.ledger.removal.delete(row.account_id, sibling.id)
            await gateway.blobs.delete_prefix(
                f"{file.prefix}/index", point=Failpoint.BATCH_BLOBS_DELETE
            )
        return await left_out(self, *args)

    monkeypatch.setattr(RetryLines, "_left_out", swept)
    child = await retry(gateway, parent.id)
    assert families == [[True, False], [True, True]], "chosen anew, of the family as it is now"
    assert await numbers(gateway, child.id) == [2, 3]


async def test_a_request_id_that_is_free_again_as_it_is_found_taken(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = await ended(gateway, {2: "x", 3: "y"})
    earlier = await retry(gateway, parent.id, codes=["x"], request_id="r")
    await end(gateway.ledger, gateway.blobs, earlier.id, {})
    freed_at_once(gateway, earlier.id, monkeypatch)
    child = await retry(gateway, parent.id, codes=["y"], request_id="r")
    assert child.id != earlier.id
    assert await numbers(gateway, child.id) == [3]

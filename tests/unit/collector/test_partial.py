"""Partial results: what is settled so far, each line once, as in the results at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from polybatch.v1 import results_pb2
from polybatch.v1.events_pb2 import WorkItem
from sqlalchemy import update

from core.batchfile import AT_END, INDEX, ResultWriter, answer_line
from core.blobs import BlobStore
from core.bus import Ack, Bus
from core.failpoints import Failpoint
from core.ledger import Batch, File, Ledger, Settlement, Shard, new_id, now
from core.pipeline import Runtime
from core.serving import ApiError, Principal
from core.settings import Settings
from services.collector.assemble import Assembler
from services.collector.earlier_costs import EarlierCostsWriter
from services.collector.results import ResultService
from tests.support.principals import speaking_as
from tests.unit.collector.test_assemble import DELIVERY, add_shards, store_input
from tests.unit.collector.test_late import Heard, at_provider

LINES = {1: "a", 2: "b", 3: "c"}


class Stand:
    """A batch of three lines, and the service that hands out its results."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, batch: Batch, records: bytes) -> None:
        self.ledger, self.blobs, self.batch_id, self.records = ledger, blobs, batch.id, records
        self.service = ResultService(ledger, blobs)
        self.assembler = Assembler(
            Runtime(
                settings=Settings(),
                ledger=ledger,
                blobs=blobs,
                bus=cast(Bus, None),
                publisher=Heard(),
            )
        )

    async def end(self) -> None:
        item = WorkItem(batch_id=self.batch_id)
        assert await self.assembler.handle(item, DELIVERY) == Ack()

    async def get(self, **asked: Any) -> tuple[results_pb2.ResultsHeader, list[bytes]]:
        """The header and the lines of a download."""
        request = results_pb2.DownloadResultsRequest(batch_id=self.batch_id, **asked)
        header, chunks = None, []
        with speaking_as(Principal("acct_1", "key_1")):
            async for reply in self.service.DownloadResults(request, cast(Any, None)):
                if reply.HasField("header"):
                    header = reply.header
                chunks.append(reply.chunk)
        assert header is not None
        return header, b"".join(chunks).splitlines(keepends=True)

    async def failures(self, **asked: Any) -> results_pb2.ListFailuresResponse:
        request = results_pb2.ListFailuresRequest(batch_id=self.batch_id, partial=True, **asked)
        with speaking_as(Principal("acct_1", "key_1")):
            return await self.service.ListFailures(request, cast(Any, None))

    async def settle(
        self, shard: Shard, lines: Sequence[int], retried: Sequence[int] = ()
    ) -> Shard | None:
        """Answers for some lines; others go into a successor, at a cost of 5 nano-dollars each."""
        prefix = f"batches/{self.batch_id}/shards/{shard.id}/results/t"
        writer = ResultWriter(
            self.blobs, prefix, segment_bytes=1 << 20, point=Failpoint.UPLOAD_DATA
        )
        for line in lines:
            raw = answer_line(self.batch_id, line, LINES[line], b"{}", None)
            await writer.append(line, raw, succeeded=True)
        await writer.close()
        earlier = EarlierCostsWriter(self.blobs, prefix)
        for line in retried:
            await earlier.add(line, 5)
        await earlier.close()
        successors = []
        if retried:
            successor = shard.successor(
                new_id("shard"), lines=len(retried), round_number=1, due_at=now()
            )
            await self.put_lines(successor, retried)
            successors = [successor]
        settlement = Settlement(len(lines), 0, retried=len(retried), results_prefix=prefix)
        assert isinstance(await self.ledger.shards.settle(shard, settlement, successors), Batch)
        return successors[0] if successors else None

    async def put_lines(self, shard: Shard, lines: Sequence[int]) -> None:
        size = INDEX.size
        records = b"".join(self.records[(line - 1) * size : line * size] for line in lines)
        await self.blobs.put(shard.lines_key, records, point=Failpoint.UPLOAD_DATA)


@pytest.fixture
async def stand(ledger: Ledger, blobs: BlobStore, batch: Batch, file: File) -> Stand:
    return Stand(ledger, blobs, batch, await store_input(blobs, file))


async def split(stand: Stand, *shares: Sequence[int]) -> list[Shard]:
    batch = await stand.ledger.batches.get(stand.batch_id)
    assert batch is not None
    return await add_shards(stand.ledger, stand.blobs, batch, stand.records, shares)


async def test_each_line_comes_once_and_as_it_stays(stand: Stand) -> None:
    """Line 1 is sent again, which has cost something; line 2 fails as a whole; line 3 is there."""
    header, lines = await stand.get(partial=True)
    assert (header.incomplete, header.line_count, lines) == (True, 0, [])
    first, second = await split(stand, [1, 3], [2])
    successor = await stand.settle(first, [3], retried=[1])
    assert successor is not None
    header, came = await stand.get(partial=True, settled_after=header.settled_until)
    assert (header.incomplete, header.line_count, header.settled_line_count) == (True, 1, 1)
    assert header.complete_until_line == 0, "line 1 is missing, though its first shard is settled"
    assert [json.loads(line)["custom_id"] for line in came] == ["c"]
    seen = list(came)
    await stand.ledger.shards.settle(second, Settlement.filled(1, "model_not_found", "no"))
    header, came = await stand.get(partial=True, settled_after=header.settled_until)
    assert [json.loads(line)["error"]["code"] for line in came] == ["model_not_found"]
    assert (header.line_count, header.settled_line_count) == (1, 2)
    seen += came
    await stand.settle(successor, [1])
    whole, everything = await stand.get(partial=True)
    assert (whole.line_count, whole.complete_until_line, whole.incomplete) == (3, 3, True)
    await stand.end()
    last, came = await stand.get(partial=True, settled_after=header.settled_until)
    assert (last.incomplete, last.settled_line_count, last.line_count) == (False, 3, 1)
    seen += came
    _, final = await stand.get()
    assert everything == final, "nothing has changed at the end"
    assert sorted(seen) == sorted(final), "each line once, as it is in the results"
    assert json.loads(final[0])["cost"] == 5e-9, "of the attempt before"
    _, some = await stand.get(partial=True, filter=results_pb2.RESULT_FILTER_FAILED)
    assert some == [final[1]]


async def test_a_broken_download_goes_on_with_the_same_lines(stand: Stand) -> None:
    """Also when more has come meanwhile, and when the batch has ended."""
    first, second, third = await split(stand, [1], [2], [3])
    await stand.settle(first, [1])
    await stand.settle(third, [3])
    header, [one, three] = await stand.get(partial=True)
    assert header.complete_until_line == 1
    await stand.settle(second, [2])
    asked = {"partial": True, "settled_until": header.settled_until}
    assert (await stand.get(**asked, after_line=1))[1] == [three]
    await stand.end()
    assert (await stand.get(**asked))[1] == [one, three]
    again, rest = await stand.get(**asked, after_line=1)
    assert (rest, again.line_count, again.incomplete) == ([three], 2, False)
    _, [two] = await stand.get(partial=True, settled_after=header.settled_until)
    assert json.loads(two)["custom_id"] == "b"


async def test_an_end_under_a_download_goes_unnoticed(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shards' results are deleted between the header and the lines."""
    first, second = await split(stand, [1, 2], [3])
    await stand.settle(first, [1, 2])
    await stand.settle(second, [3])
    shards_of, calls = stand.ledger.shards.of_batch, []

    async def then_end(batch_id: str) -> list[Shard]:
        shards = await shards_of(batch_id)
        calls.append(batch_id)
        if len(calls) == 2:
            await stand.end()
        return shards

    monkeypatch.setattr(stand.ledger.shards, "of_batch", then_end)
    header, lines = await stand.get(partial=True)
    assert header.incomplete
    assert [json.loads(line)["custom_id"] for line in lines] == ["a", "b", "c"]


async def test_what_was_given_up_is_not_settled_before_the_end(stand: Stand) -> None:
    """Its answer may come before the results are written, or after."""
    first, second = await split(stand, [1, 2], [3])
    await stand.settle(first, [1, 2])
    sent = await at_provider(stand.ledger, second)
    await stand.ledger.batches.cancel(stand.batch_id)
    await stand.ledger.late.give_up(sent, "batch_cancelled", "not waited for", now())
    header, came = await stand.get(partial=True)
    assert (len(came), header.settled_line_count, header.complete_until_line) == (2, 2, 2)
    await stand.end()
    header, [last] = await stand.get(partial=True, settled_after=header.settled_until)
    assert json.loads(last)["error"]["code"] == "batch_cancelled"
    assert (header.incomplete, header.settled_until) == (False, AT_END)


async def test_what_was_settled_before_revisions_were_kept_comes_with_the_end(
    stand: Stand,
) -> None:
    first, second = await split(stand, [1], [2, 3])
    await stand.settle(first, [1])
    async with stand.ledger._database.write(Failpoint.SHARD_SETTLE) as session:
        await session.exec(update(Shard).values(settled_revision=0))
    await stand.settle(second, [2, 3])
    header, came = await stand.get(partial=True)
    assert (len(came), header.settled_line_count, header.complete_until_line) == (2, 2, 0)
    await stand.end()
    _, [last] = await stand.get(partial=True, settled_after=header.settled_until)
    assert json.loads(last)["custom_id"] == "a"


async def test_failures_so_far_are_listed_page_by_page_even_beyond_the_end(stand: Stand) -> None:
    first, second, third = await split(stand, [1], [2], [3])
    for shard in (first, third):
        await stand.ledger.shards.settle(shard, Settlement.filled(1, "refused", "no"))
    causes = results_pb2.ListFailureCausesRequest(batch_id=stand.batch_id, partial=True)
    with speaking_as(Principal("acct_1", "key_1")):
        found = await stand.service.ListFailureCauses(causes, cast(Any, None))
    assert [(cause.code, cause.line_count) for cause in found.causes] == [("refused", 2)]
    page = await stand.failures(page_size=1)
    assert [failure.line for failure in page.failures] == [1]
    await stand.ledger.shards.settle(second, Settlement.filled(1, "refused", "no"))
    await stand.end()
    page = await stand.failures(page_size=1, page_token=page.next_page_token)
    assert [failure.line for failure in page.failures] == [3], "as it was at the first page"
    assert not page.next_page_token
    assert len((await stand.failures()).failures) == 3


@pytest.mark.parametrize(
    "asked", [{"settled_after": -1}, {"after_line": -1}, {"settled_until": 2**40}, {"offset": 5}]
)
async def test_what_makes_no_sense_is_refused(stand: Stand, asked: dict[str, int]) -> None:
    with pytest.raises(ApiError) as refused:
        await stand.get(partial=True, **asked)
    assert refused.value.reason == "INVALID_FIELD"
    assert next(iter(asked)) in refused.value.message

"""Late answers: in the place of what stood in the results, once, and as a new revision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from polybatch.v1 import results_pb2
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.batchfile import ResultFile, ResultWriter
from core.blobs import BlobStore, BlobUnavailable
from core.bus import Ack, Bus, Delivery, Snooze, Step
from core.failpoints import Failpoint
from core.ledger import (
    AtWork,
    Batch,
    BatchState,
    File,
    Ledger,
    ModelSpend,
    Settlement,
    Shard,
    Stale,
    ToMerge,
    now,
)
from core.pipeline import Runtime, Sweep
from core.settings import Settings
from services.collector.assemble import Assembler
from services.collector.late_results import ResultsInconsistent, clean_up
from tests.support.ledger.rows import intend, reread
from tests.support.publishers import NoEvents
from tests.support.stores.small_disk import no_room_for_manifest
from tests.unit.collector.test_assemble import add_shards, settle_with, store_input

DELIVERY = Delivery(1, now())


class Heard(NoEvents):
    """Remembers what was announced."""

    def __init__(self) -> None:
        self.kinds: list[BatchEvent.Kind] = []
        self.wakes: list[tuple[Step, str]] = []

    async def changed(
        self, batch: Batch, kind: BatchEvent.Kind, shard: Shard | None = None
    ) -> None:
        self.kinds.append(kind)

    async def enqueue(self, step: Step, batch_id: str, shard_id: str = "") -> None:
        self.wakes.append((step, batch_id))


class Stand:
    """A batch of three lines that was cancelled: line 2 is here, 1 and 3 are at a provider."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, batch: Batch, heard: Heard) -> None:
        self.ledger, self.blobs, self.batch_id, self.heard = ledger, blobs, batch.id, heard
        self.runtime = Runtime(
            settings=Settings(sweep_interval=0.001),
            ledger=ledger,
            blobs=blobs,
            bus=cast(Bus, None),
            publisher=heard,
        )
        self.assembler = Assembler(self.runtime)
        self.late: list[Shard] = []

    async def assemble(self) -> Ack | Snooze:
        return await self.assembler.handle(WorkItem(batch_id=self.batch_id), DELIVERY)

    async def batch(self) -> Batch:
        found = await self.ledger.batches.get(self.batch_id)
        assert found is not None
        return found

    async def lines(self) -> list[dict[str, object]]:
        results = await ResultFile.open(self.blobs, (await self.batch()).results_prefix)
        return [json.loads(each.raw) async for group in results.lines() for each in group]

    async def come(self, shard: Shard, lines: Sequence[int]) -> None:
        """The answers of a given-up shard are here."""
        prefix = f"batches/{self.batch_id}/shards/{shard.id}/results/late"
        writer = ResultWriter(
            self.blobs, prefix, segment_bytes=1 << 20, point=Failpoint.UPLOAD_DATA
        )
        for line in lines:
            await writer.append(line, b'{"late":%d}' % line, succeeded=True)
        await writer.close()
        fresh = await reread(self.ledger, shard)
        settlement = Settlement(
            len(lines),
            shard.line_count - len(lines),
            results_prefix=prefix,
            spend=[ModelSpend("openai/m", len(lines), input_tokens=10)],
            answered=len(lines),
        )
        assert isinstance(await self.ledger.shards.settle(fresh, settlement), Batch)


async def at_provider(ledger: Ledger, shard: Shard) -> Shard:
    intended = await intend(ledger, shard, f"t-{shard.id}")
    assert await ledger.shards.mark_dispatched(intended, timedelta(seconds=30))
    assert isinstance(
        await ledger.shards.submitted(intended, f"remote-{shard.id}", "", now()), Batch
    )
    found = await reread(ledger, shard)
    return found


@pytest.fixture
async def stand(ledger: Ledger, blobs: BlobStore, batch: Batch, file: File) -> Stand:
    stand = Stand(ledger, blobs, batch, Heard())
    records = await store_input(blobs, file)
    first, second, third = await add_shards(ledger, blobs, batch, records, [[1], [2], [3]])
    await settle_with(ledger, blobs, second, [2])
    at = [await at_provider(ledger, shard) for shard in (first, third)]
    assert isinstance(await ledger.batches.cancel(batch.id), Batch)
    until = now() + timedelta(days=29)
    for shard in at:
        given_up = await ledger.late.give_up(shard, "batch_cancelled", "perhaps paid", until)
        assert isinstance(given_up, Batch)
    stand.late = at
    return stand


class Overtaken:
    """A store that is slow to list results: another replica merges late answers meanwhile."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stand.blobs, name)

    async def list(self, prefix: str) -> Any:
        if prefix.endswith("/results") and (await self._stand.batch()).results_revision == 1:
            await self._stand.come(self._stand.late[0], [1])
            await self._stand.come(self._stand.late[1], [3])
            await self._stand.assemble()
        return await self._stand.blobs.list(prefix)


async def test_cleaning_up_spares_results_that_another_replica_writes(stand: Stand) -> None:
    assert await stand.assemble() == Ack()
    await clean_up(stand.ledger, cast(BlobStore, Overtaken(stand)), stand.batch_id)
    assert (await stand.batch()).results_revision == 2
    assert [line.get("late") for line in await stand.lines()] == [1, None, 3]


async def test_who_is_overtaken_while_assembling_has_not_failed(stand: Stand) -> None:
    class Slow:
        """It is asked for a part of the results when another replica is about to end the batch."""

        def __getattr__(self, name: str) -> Any:
            return getattr(stand.blobs, name)

        async def get_range(self, key: str, start: int, length: int) -> bytes:
            if "/shards/" in key and not (await stand.batch()).ended:
                assert await stand.assemble() == Ack()
            return await stand.blobs.get_range(key, start, length)

    slow = Assembler(replace(stand.runtime, blobs=cast(BlobStore, Slow())))
    assert await slow.handle(WorkItem(batch_id=stand.batch_id), DELIVERY) == Ack()
    ended = await stand.batch()
    assert ended.state == BatchState.CANCELLED
    written = await stand.blobs.list(f"batches/{stand.batch_id}/results")
    assert all(key.startswith(f"{ended.results_prefix}/") for key, _ in written)
    assert len(await stand.lines()) == 3


async def test_a_batch_ends_without_what_was_given_up(stand: Stand) -> None:
    assert await stand.assemble() == Ack()
    ended = await stand.batch()
    assert ended.state == BatchState.CANCELLED
    assert (ended.succeeded, ended.failed, ended.cancelled, ended.awaited) == (1, 2, 2, 2)
    assert (ended.results_revision, ended.late) == (1, 0)
    assert ended.awaited_until is not None
    lines = await stand.lines()
    assert [line.get("attempts") for line in lines] == [1, None, 1]
    kept = await stand.blobs.list(f"batches/{stand.batch_id}/shards")
    assert {key.split("/")[3] for key, _ in kept} == {"shard_0", "shard_2"}
    assert await stand.assemble() == Ack(), "nothing has come yet"
    assert (await stand.batch()).revision == ended.revision


async def test_late_answers_take_the_place_of_what_stood_there(stand: Stand) -> None:
    await stand.assemble()
    old = (await stand.batch()).results_prefix
    first, third = stand.late
    await stand.come(first, [1])
    before = await stand.batch()
    assert (before.succeeded, before.awaited) == (1, 2), "counts change with the results"
    assert isinstance(await stand.assemble(), Snooze), "the other may come in a moment"
    await stand.come(third, [3])
    assert await stand.assemble() == Ack()
    merged = await stand.batch()
    assert (merged.succeeded, merged.failed, merged.cancelled) == (3, 0, 0)
    assert (merged.late, merged.awaited, merged.results_revision) == (2, 0, 2)
    assert merged.awaited_until is None
    assert (merged.state, merged.input_tokens) == (BatchState.CANCELLED, 20)
    assert merged.revision > before.revision
    assert await stand.lines() == [{"late": 1}, {"n": 2}, {"late": 3}]
    assert BatchEvent.LATE_RESULTS in stand.heard.kinds
    assert await stand.blobs.list(old) == []
    assert await stand.blobs.list(f"batches/{stand.batch_id}/shards") == []
    manifest = results_pb2.Manifest.FromString(
        await stand.blobs.get(f"{merged.results_prefix}/manifest")
    )
    assert (manifest.results_revision, manifest.late_line_count) == (2, 2)
    assert manifest.request_counts.succeeded == 3
    assert manifest.usage.input_tokens == 20
    assert [shard.succeeded for shard in manifest.shards] == [1, 1, 1]
    assert await stand.assemble() == Ack()
    assert (await stand.batch()).revision == merged.revision


async def test_a_merge_that_found_no_room_leaves_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await stand.assemble() == Ack()
    for shard, line in zip(stand.late, (1, 3), strict=True):
        await stand.come(shard, [line])
    kept = await stand.blobs.list(f"batches/{stand.batch_id}/results")
    monkeypatch.setattr("core.blobs.folder.require_headroom", no_room_for_manifest)
    with pytest.raises(BlobUnavailable):
        await stand.assemble()
    assert await stand.blobs.list(f"batches/{stand.batch_id}/results") == kept
    assert (await stand.batch()).results_revision == 1


async def test_answers_that_come_before_the_batch_has_ended_are_merged_after_it(
    stand: Stand,
) -> None:
    first, _ = stand.late
    await stand.come(first, [1])
    await stand.assemble()
    assert (await stand.batch()).succeeded == 1
    assert (Step.ASSEMBLE, stand.batch_id) in stand.heard.wakes


async def test_a_lost_message_is_made_good_by_the_sweep(stand: Stand) -> None:
    await stand.assemble()
    for shard, line in zip(stand.late, (1, 3), strict=True):
        await stand.come(shard, [line])
    stand.heard.wakes.clear()
    sweep = Sweep(stand.runtime, late=True)
    while not await sweep.once():
        pass
    assert set(stand.heard.wakes) == {(Step.ASSEMBLE, stand.batch_id)}


async def test_what_is_abandoned_stays_as_it_was(stand: Stand) -> None:
    await stand.assemble()
    before = await stand.lines()
    for shard in stand.late:
        assert isinstance(await stand.ledger.late.abandon(shard), Batch)
    ended = await stand.batch()
    assert (ended.failed, ended.awaited, ended.late) == (2, 0, 0)
    assert await stand.assemble() == Ack()
    assert await stand.lines() == before
    assert ended.results_revision == 1


async def test_what_was_never_sent_is_said_to_be_so(stand: Stand) -> None:
    await stand.assemble()
    for shard in stand.late:
        assert isinstance(await stand.ledger.late.never_sent(shard), Batch)
    assert await stand.assemble() == Ack()
    lines = await stand.lines()
    assert [line.get("attempts") for line in lines] == [0, None, 0]
    merged = await stand.batch()
    assert (merged.failed, merged.late, merged.awaited, merged.results_revision) == (2, 0, 0, 2)


async def test_two_never_merge_at_once(stand: Stand) -> None:
    await stand.assemble()
    lease = timedelta(seconds=30)
    late = stand.ledger.late
    assert isinstance(await late.claim_merge(stand.batch_id, "one", lease), Stale), "nothing came"
    await stand.come(stand.late[0], [1])
    claimed = await late.claim_merge(stand.batch_id, "one", lease)
    assert isinstance(claimed, ToMerge)
    assert [shard.id for shard in claimed.come] == [stand.late[0].id]
    assert isinstance(await late.claim_merge(stand.batch_id, "two", lease), AtWork)
    assert await stand.ledger.batches.renew_lease(stand.batch_id, "one", timedelta())
    assert not await stand.ledger.batches.renew_lease(stand.batch_id, "two", lease)
    assert isinstance(await late.claim_merge(stand.batch_id, "two", lease), ToMerge)
    assert not await stand.ledger.batches.renew_lease(stand.batch_id, "one", lease), (
        "it is another one's"
    )
    assert not isinstance(await late.merge(claimed.batch, "one", [], "elsewhere"), Batch)
    assert (await stand.batch()).results_prefix == claimed.batch.results_prefix


async def test_answers_to_other_lines_are_never_handed_out(stand: Stand) -> None:
    await stand.assemble()
    before = await stand.lines()
    for shard, line in zip(stand.late, (1, 4), strict=True):
        await stand.come(shard, [line])
    with pytest.raises(ResultsInconsistent):
        await stand.assemble()
    assert await stand.lines() == before


async def test_the_input_stays_while_answers_may_come(stand: Stand) -> None:
    await stand.assemble()
    ended = await stand.batch()
    refused = await stand.ledger.files.delete(ended.account_id, ended.input_file_id)
    assert getattr(refused, "until", None) == ended.awaited_until
    for shard in stand.late:
        await stand.ledger.late.abandon(shard)
    assert isinstance(await stand.ledger.files.delete(ended.account_id, ended.input_file_id), File)


async def test_what_another_merges_in_between_is_not_merged_again(stand: Stand) -> None:
    """It ends its merge after we have seen what has come, and before the results are ours."""
    await stand.assemble()
    for shard, line in zip(stand.late, (1, 3), strict=True):
        await stand.come(shard, [line])
    claim = stand.ledger.late.claim_merge
    other = Assembler(stand.runtime)

    async def claim_after_another(*of: Any) -> Any:
        stand.ledger.late.claim_merge = claim  # type: ignore[method-assign]
        assert await other.handle(WorkItem(batch_id=stand.batch_id), DELIVERY) == Ack()
        return await claim(*of)

    stand.ledger.late.claim_merge = claim_after_another  # type: ignore[method-assign]
    assert await stand.assemble() == Ack()
    batch = await stand.batch()
    assert (batch.results_revision, batch.late, batch.assembler) == (2, 2, "")
    assert await stand.lines() == [{"late": 1}, {"n": 2}, {"late": 3}]
    written = await stand.blobs.list(f"batches/{stand.batch_id}")
    assert [key for key, _ in written if not key.startswith(batch.results_prefix)] == []


async def test_a_merge_of_what_was_merged_is_refused(stand: Stand) -> None:
    await stand.assemble()
    await stand.come(stand.late[0], [1])
    late = stand.ledger.late
    claimed = await late.claim_merge(stand.batch_id, "one", timedelta(seconds=30))
    assert isinstance(claimed, ToMerge)
    merged = await late.merge(claimed.batch, "one", claimed.come, claimed.batch.results_prefix)
    assert isinstance(merged, Batch)
    await stand.come(stand.late[1], [3])
    assert isinstance(await late.claim_merge(stand.batch_id, "two", timedelta(0)), ToMerge)
    again = await late.merge(merged, "two", claimed.come, "elsewhere")
    assert isinstance(again, Stale)
    assert (await stand.batch()).results_prefix == merged.results_prefix

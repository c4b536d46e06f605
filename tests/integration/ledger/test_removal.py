"""Deleting batches and results: hidden at once, removed by a sweep that can die anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import col, update

from core.blobs import BlobStore
from core.failpoints import Failpoint
from core.ledger import (
    Batch,
    BatchState,
    FileInUse,
    Ledger,
    NoResults,
    ResultsGone,
    ShardState,
    Stale,
    now,
)
from core.ledger.batch_search import HasTerm, Kind
from services.gateway.removal import RemovalSweep
from tests.support.ledger.rows import add_rows, batch_row, file_row, shard_row

ACCOUNT = "acct_1"


@dataclass
class Place:
    ledger: Ledger
    blobs: BlobStore
    sweep: RemovalSweep

    async def batch(self, number: int = 1, **fields: object) -> Batch:
        """One that has ended with three lines, with blobs of its own and of its input."""
        file = await self.ledger.files.find_upload(ACCOUNT, f"upload-{number}")
        if file is None:
            file = await self.ledger.files.finish_upload(file_row(upload_id=f"upload-{number}"))
            await self.blobs.put(f"{file.prefix}/data/0", b"{}", point=Failpoint.UPLOAD_DATA)
        defaults = {"total": 3, "succeeded": 2, "failed": 1, "state": BatchState.COMPLETED}
        row = batch_row(file, name="mine", details={"a": "b"}, **(defaults | fields))
        row.results_prefix = f"batches/{row.id}/results/t"
        made = await self.ledger.batches.create(row)
        assert isinstance(made, Batch)
        for name in ("results/t/data", "shards/s/lines"):
            key = f"batches/{row.id}/{name}"
            await self.blobs.put(key, b"x", point=Failpoint.BATCH_RESULTS)
        return made

    async def kept(self, batch: Batch) -> tuple[set[str], bool]:
        """Which folders of the batch have something in them; whether the input is there."""
        keys = [key for key, _ in await self.blobs.list(f"batches/{batch.id}")]
        file = await self.ledger.files.get_input(batch)
        inputs = [key for key, _ in await self.blobs.list(f"files/{ACCOUNT}")]
        assert file is not None or not inputs
        return {key.split("/")[2] for key in keys}, file is not None

    async def fresh(self, batch: Batch) -> Batch:
        found = await self.ledger.batches.get(batch.id)
        assert found is not None
        return found

    async def age(self, batch: Batch, **columns: object) -> None:
        async with self.ledger.batches._database.write(Failpoint.BATCH_DEFER) as session:
            await session.exec(update(Batch).where(col(Batch.id) == batch.id).values(**columns))


@pytest.fixture
def place(ledger: Ledger, tmp_path: Path) -> Place:
    blobs = BlobStore.open((tmp_path / "blobs").as_uri())
    return Place(ledger, blobs, RemovalSweep(ledger, blobs, interval=1))


async def test_a_deleted_batch_is_seen_by_nobody_and_leaves_nothing(place: Place) -> None:
    batch = await place.batch(request_id="r", request_digest="d")
    deleted = await place.ledger.removal.delete(ACCOUNT, batch.id)
    assert isinstance(deleted, Batch)
    assert deleted.revision > batch.revision
    assert (deleted.name, deleted.details, deleted.results_prefix) == ("", {}, "")
    batches = place.ledger.batches
    assert await batches.get(batch.id, ACCOUNT) is None
    assert await batches.page(ACCOUNT, 10, None) == []
    named = [HasTerm(Kind.METADATA, "a", "b")]
    assert await batches.page(ACCOUNT, 10, None, (), named) == []
    assert await batches.find_request(ACCOUNT, "r") is None
    assert await place.ledger.removal.delete(ACCOUNT, batch.id) is None
    assert await place.sweep.once() == 1
    assert await place.kept(batch) == (set(), False)
    assert await place.sweep.once() == 0


async def test_only_ended_ones_of_the_account_are_deleted(place: Place) -> None:
    running = await place.batch(state=BatchState.IN_PROGRESS)
    assert isinstance(await place.ledger.removal.delete(ACCOUNT, running.id), Stale)
    assert await place.ledger.removal.delete("acct_2", running.id) is None


async def test_the_input_goes_with_its_last_batch(place: Place) -> None:
    first, second = await place.batch(), await place.batch()
    await place.ledger.removal.delete(ACCOUNT, first.id)
    await place.sweep.once()
    assert await place.kept(first) == (set(), True)
    await place.ledger.removal.delete(ACCOUNT, second.id)
    await place.sweep.once()
    assert await place.kept(second) == (set(), False)


async def test_late_answers_keep_the_input_until_they_have_come(place: Place) -> None:
    batch = await place.batch()
    shard = shard_row(
        batch,
        line_count=1,
        state=ShardState.SETTLED,
        given_up_at=now(),
        late_until=now() + timedelta(days=1),
        fill_code="batch_expired",
    )
    await add_rows(place.ledger, shard)
    await place.age(batch, awaited=1, awaited_until=now() + timedelta(days=1))
    assert isinstance(await place.ledger.removal.delete(ACCOUNT, batch.id), Batch)
    assert await place.sweep.once() == 1
    assert await place.kept(batch) == ({"shards"}, True)
    assert await place.sweep.once() == 0
    dropped = await place.ledger.late.drop(batch.id)
    assert isinstance(dropped, Batch)
    assert dropped.awaited == 0
    assert isinstance(await place.ledger.late.drop(batch.id), Stale)
    assert await place.sweep.once() == 1
    assert await place.kept(batch) == (set(), False)


async def test_results_go_one_kind_after_the_other_and_the_batch_stays(place: Place) -> None:
    batch = await place.batch()
    removal = place.ledger.removal
    half = await removal.delete_results(ACCOUNT, batch.id, ResultsGone.SUCCEEDED)
    assert isinstance(half, Batch)
    assert half.results_prefix
    assert await place.sweep.once() == 0
    whole = await removal.delete_results(ACCOUNT, batch.id, ResultsGone.FAILED)
    assert isinstance(whole, Batch)
    assert (whole.results_gone, whole.results_prefix) == (ResultsGone.ALL, "")
    again = await removal.delete_results(ACCOUNT, batch.id, ResultsGone.FAILED)
    assert isinstance(again, Batch)
    assert again.revision == whole.revision
    assert await place.sweep.once() == 1
    assert await place.kept(batch) == (set(), True)
    assert (await place.fresh(batch)).removal_due_at is None


async def test_a_kind_that_no_line_has_is_not_waited_for(place: Place) -> None:
    batch = await place.batch(succeeded=3, failed=0)
    gone = await place.ledger.removal.delete_results(ACCOUNT, batch.id, ResultsGone.SUCCEEDED)
    assert isinstance(gone, Batch)
    assert gone.results_gone == ResultsGone.ALL


async def test_a_batch_that_never_had_results_says_so(place: Place) -> None:
    batch = await place.batch(state=BatchState.FAILED)
    await place.age(batch, results_prefix="")
    found = await place.ledger.removal.delete_results(ACCOUNT, batch.id, ResultsGone.ALL)
    assert isinstance(found, NoResults)


async def test_results_are_kept_for_as_long_as_was_said(place: Place) -> None:
    batch = await place.batch(retention_seconds=3600.0)
    assert batch.results_expire_at == batch.created_at + timedelta(hours=1)
    assert await place.sweep.once() == 0
    moment = now() - timedelta(seconds=1)
    await place.age(batch, results_expire_at=moment, removal_due_at=moment)
    assert await place.sweep.once() == 1
    assert await place.kept(batch) == (set(), False)
    past = await place.ledger.batches.get(batch.id, ACCOUNT)
    assert past is not None, "the batch itself stays"
    assert (past.name, past.results_gone) == ("mine", ResultsGone.ALL)
    assert past.results_expire_at == moment
    assert past.removal_due_at is None


async def test_files_go_at_their_time_unless_a_batch_runs(place: Place) -> None:
    past = now() - timedelta(seconds=1)
    idle = await place.ledger.files.finish_upload(file_row(upload_id="idle", expires_at=past))
    read = await place.ledger.files.finish_upload(file_row(upload_id="read", expires_at=past))
    copied = await place.ledger.files.finish_upload(file_row(upload_id="copied", expires_at=past))
    retried = await place.ledger.files.finish_upload(
        file_row(upload_id="retried", source_file_id=copied.id)
    )
    assert isinstance(await place.ledger.batches.create(batch_row(retried)), Batch)
    batch = await place.ledger.batches.create(batch_row(read))
    assert isinstance(batch, Batch)
    assert isinstance(await place.ledger.files.delete(ACCOUNT, read.id), FileInUse)
    assert await place.sweep.once() == 2
    assert await place.ledger.files.get(ACCOUNT, idle.id) is None
    assert await place.ledger.files.get(ACCOUNT, copied.id) is None, "a retry has its own copy"
    assert await place.ledger.files.get(ACCOUNT, read.id) is not None
    await place.age(batch, state=BatchState.COMPLETED)
    assert await place.sweep.once() == 1
    assert await place.ledger.files.get(ACCOUNT, read.id) is None


async def test_one_sweeper_takes_a_batch(place: Place) -> None:
    batch = await place.batch()
    deleted = await place.ledger.removal.delete(ACCOUNT, batch.id)
    assert isinstance(deleted, Batch)
    lease = timedelta(minutes=1)
    claimed = await place.ledger.removal.claim(deleted, lease)
    assert claimed is not None
    assert await place.ledger.removal.claim(deleted, lease) is None
    assert await place.ledger.removal.done(claimed, None)
    assert not await place.ledger.removal.done(claimed, None)

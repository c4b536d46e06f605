"""Two processes do the same at the same moment: one does it, the other one sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from core.ledger import (
    AtCapacity,
    Batch,
    File,
    Ledger,
    RequestIdReused,
    Shard,
    Upload,
    UploadGone,
    new_id,
    now,
)
from tests.support.ledger.rows import batch_row, create, file_row, shard_row

TIMES = 4


@pytest.fixture
async def two(database_url: str) -> AsyncIterator[list[Ledger]]:
    """Two processes' ledgers on one database."""
    ledgers = [await Ledger.open(database_url) for _ in range(2)]
    yield ledgers
    for ledger in ledgers:
        await ledger.close()


def new_file(upload: str) -> File:
    return file_row(account_id="acct_a", upload_id=upload)


def new_batch(file: File, request_id: str | None = None) -> Batch:
    return batch_row(file, request_id=request_id, request_digest=file.id, total=10)


async def planned(ledger: Ledger, upload: str) -> Shard:
    """The only shard of a new batch."""
    file = await ledger.files.finish_upload(new_file(upload))
    batch = await create(ledger, new_batch(file))
    moment = now()
    shard = shard_row(
        batch, provider="local", model="llama", remote_model="llama", line_count=10, at=moment
    )
    assert isinstance(await ledger.batches.plan(batch.id, [shard]), Batch)
    return shard


async def test_an_upload_begins_and_ends(two: list[Ledger]) -> None:
    for number in range(3):
        upload = f"upload-{number}"
        await asyncio.gather(
            *(ledger.files.begin_upload("acct_a", upload) for ledger in two * TIMES)
        )
        ends = await asyncio.gather(
            *(ledger.files.finish_upload(new_file(upload)) for ledger in two),
            *(ledger.files.begin_upload("acct_a", upload) for ledger in two * TIMES),
        )
        assert ends[0].id == ends[1].id
        # Nothing is left over that a sweep would delete together with the file's blobs.
        assert await two[0].files.stale_uploads(now() + timedelta(days=1), 10) == []


async def test_a_file_is_deleted_while_batches_are_made_of_it(two: list[Ledger]) -> None:
    for number in range(3):
        file = await two[0].files.finish_upload(new_file(f"upload-{number}"))
        deleted, *made = await asyncio.gather(
            two[0].files.delete("acct_a", file.id),
            *(ledger.batches.create(new_batch(file)) for ledger in two * TIMES),
        )
        kept = [batch for batch in made if isinstance(batch, Batch)]
        assert bool(kept) != isinstance(deleted, File)


async def test_a_request_id_makes_one_batch_also_of_two_files(two: list[Ledger]) -> None:
    files = [await two[0].files.finish_upload(new_file(f"upload-{n}")) for n in range(2)]
    made = await asyncio.gather(
        *(ledger.batches.create(new_batch(file, "r1")) for ledger in two * TIMES for file in files)
    )
    ids = {batch.id for batch in made if isinstance(batch, Batch)}
    assert len(ids) == 1
    refused = [batch for batch in made if isinstance(batch, RequestIdReused)]
    assert len(refused) == 2 * TIMES


async def test_an_account_gets_its_first_keys(two: list[Ledger]) -> None:
    keys = await asyncio.gather(*(ledger.accounts.create_key("alpha") for ledger in two * TIMES))
    assert len({key.account_id for key in keys}) == 1
    first = await asyncio.gather(
        *(
            ledger.accounts.create_first_key("default", "first", "pb_" + new_id("x"))
            for ledger in two * TIMES
        )
    )
    assert not any(first)


async def test_the_very_first_key_is_one(two: list[Ledger]) -> None:
    made = await asyncio.gather(
        *(
            ledger.accounts.create_first_key("default", "first", f"pb_{number}")
            for number, ledger in enumerate(two * TIMES)
        )
    )
    assert sum(made) == 1
    assert len(await two[0].accounts.list_keys()) == 1


async def test_no_more_shards_run_at_a_provider_than_may(two: list[Ledger]) -> None:
    shards = [await planned(two[0], f"upload-{number}") for number in range(4)]
    outcomes = await asyncio.gather(
        *(
            two[number % 2].runs.start(shard, remote_model="llama", most=1, most_of_batch=1)
            for number, shard in enumerate(shards)
        )
    )
    assert sum(isinstance(outcome, Batch) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AtCapacity) for outcome in outcomes) == 3


async def test_a_new_models_quota_is_learned(two: list[Ledger]) -> None:
    shard = await planned(two[0], "upload-1")
    await asyncio.gather(
        *(ledger.quotas.refused(shard, 50_000) for ledger in two * TIMES),
        *(ledger.quotas.observe("local", "llama", 4_000, 1_000) for ledger in two * TIMES),
    )
    assert (await two[1].quotas.of("local", "llama")).limit == 50_000


async def test_an_upload_is_deleted_or_becomes_a_file(two: list[Ledger]) -> None:
    for number in range(3 * TIMES):
        upload = f"upload-{number}"
        begun = await begin(two[0], upload)
        gone, ended = await asyncio.gather(
            two[0].files.discard_upload("acct_a", upload),
            two[1].files.finish_upload(new_file(upload), begun),
            return_exceptions=True,
        )
        assert gone is isinstance(ended, UploadGone)
        assert gone is not isinstance(ended, File)


async def test_nobody_goes_on_with_an_upload_while_it_is_deleted(ledger: Ledger) -> None:
    files = ledger.files
    begun = await begin(ledger, "upload-1")
    assert await files.discard_upload("acct_a", "upload-1")
    with pytest.raises(UploadGone):
        await begin(ledger, "upload-1")
    with pytest.raises(UploadGone):
        await files.finish_upload(new_file("upload-1"), begun)
    await files.forget_upload("acct_a", "upload-1")
    with pytest.raises(UploadGone):
        await files.finish_upload(new_file("upload-1"), begun)
    again = await begin(ledger, "upload-1")
    with pytest.raises(UploadGone):
        await files.finish_upload(new_file("upload-1"), begun)
    assert not await files.discard_upload("acct_a", "upload-1", begun), "it is another one's"
    file = await files.finish_upload(new_file("upload-1"), again)
    assert not await files.discard_upload("acct_a", "upload-1")
    assert await files.get("acct_a", file.id)


async def begin(ledger: Ledger, upload_id: str) -> Upload:
    begun = await ledger.files.begin_upload("acct_a", upload_id)
    assert isinstance(begun, Upload)
    return begun

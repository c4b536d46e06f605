"""What an account may have at a time, counted where all replicas see it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from core.ledger import AccountLimits, Batch, File, Ledger, Limit, OverLimit, Upload
from tests.support.ledger.rows import batch_row, file_row

MIB = 1024 * 1024
ONE = AccountLimits(open_uploads=1)


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[list[Ledger]]:
    opened = [await Ledger.open(database_url) for _ in range(3)]
    yield opened
    for each in opened:
        await each.close()


async def finish(ledger: Ledger, upload: str, size: int) -> File:
    return await ledger.files.finish_upload(
        file_row(account_id="acct_a", upload_id=upload, bytes=size, line_count=1)
    )


def batch_of(file: File) -> Batch:
    return batch_row(file, total=1, queued=1)


async def test_of_many_uploads_at_once_no_more_begin_than_may(replicas: list[Ledger]) -> None:
    limits = AccountLimits(open_uploads=4)
    got = await asyncio.gather(
        *(
            replicas[number % 3].files.begin_upload("acct_a", f"upload-{number}", limits)
            for number in range(12)
        )
    )
    assert sum(isinstance(each, Upload) for each in got) == 4
    refused = [each for each in got if isinstance(each, OverLimit)]
    assert set(refused) == {OverLimit(Limit.OPEN_UPLOADS, 4, 4)}
    other = await replicas[0].files.begin_upload("acct_b", "upload-1", limits)
    assert isinstance(other, Upload)


async def test_a_place_is_free_again_after_the_end_the_finish_and_the_lease(
    ledger: Ledger,
) -> None:
    files = ledger.files
    first = await files.begin_upload("acct_a", "upload-1", ONE)
    assert isinstance(first, Upload)
    assert isinstance(await files.begin_upload("acct_a", "upload-2", ONE), OverLimit)
    assert isinstance(await files.begin_upload("acct_a", "upload-1", ONE), Upload), "the same"
    # The stream before it ends only now: the place is not its own any more.
    await files.end_upload(first, 0)
    assert isinstance(await files.begin_upload("acct_a", "upload-2", ONE), OverLimit)
    await finish(ledger, "upload-1", 1)
    second = await files.begin_upload("acct_a", "upload-2", ONE)
    assert isinstance(second, Upload)
    await files.end_upload(second, 5)
    crashed = await files.begin_upload("acct_a", "upload-3", ONE, lease=timedelta(0))
    assert isinstance(crashed, Upload)
    assert isinstance(await files.begin_upload("acct_a", "upload-4", ONE), Upload)


async def test_bytes_of_uploads_at_once_stay_within_the_limit(replicas: list[Ledger]) -> None:
    limits = AccountLimits(stored_bytes=100 * MIB)
    stored: dict[str, int] = {}

    async def upload(number: int) -> None:
        """Grow by steps of 1 MiB until it is refused."""
        files, name = replicas[number % 3].files, f"upload-{number}"
        held = await files.begin_upload("acct_a", name, limits)
        size = 0
        while isinstance(held, Upload):
            size = min(size + MIB, held.bytes)
            stored[name] = size
            assert sum(stored.values()) <= 100 * MIB
            if size == held.bytes:
                held = await files.begin_upload("acct_a", name, limits, size=size + 1)

    await asyncio.gather(*(upload(number) for number in range(6)))
    assert sum(stored.values()) == 100 * MIB, "all of it can be used"


async def test_files_and_broken_uploads_count_and_deleted_ones_do_not(ledger: Ledger) -> None:
    files = ledger.files
    limits = AccountLimits(stored_bytes=10)
    file = await finish(ledger, "upload-1", 6)
    broken = await files.begin_upload("acct_a", "upload-2", limits)
    assert isinstance(broken, Upload)
    assert broken.bytes == 4, "no more than there is room"
    await files.end_upload(broken, 3)
    third = await files.begin_upload("acct_a", "upload-3", limits)
    assert isinstance(third, Upload)
    assert third.bytes == 1
    assert await files.begin_upload("acct_a", "upload-3", limits, size=2) == OverLimit(
        Limit.STORED_BYTES, 10, 10
    )
    await files.end_upload(third, 0)
    await files.delete("acct_a", file.id)
    await files.forget_upload("acct_a", "upload-1")
    again = await files.begin_upload("acct_a", "upload-3", limits, size=2)
    assert isinstance(again, Upload)
    assert again.bytes == 7


async def test_of_many_batches_at_once_no_more_are_made_than_may(replicas: list[Ledger]) -> None:
    limits = AccountLimits(batches=3)
    file = await finish(replicas[0], "upload-1", 1)
    got = await asyncio.gather(
        *(replicas[number % 3].batches.create(batch_of(file), limits) for number in range(9))
    )
    made = [each for each in got if isinstance(each, Batch)]
    assert len(made) == 3
    assert {each for each in got if isinstance(each, OverLimit)} == {OverLimit(Limit.BATCHES, 3, 3)}
    await replicas[0].batches.fail(made[0].id, "code", "One that has ended does not count.")
    assert isinstance(await replicas[1].batches.create(batch_of(file), limits), Batch)

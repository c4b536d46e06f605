"""Uploaded inputs in the ledger: kept over refusals, and deleted by one only."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from core.ledger import Batch, Ledger, LeftFile, Settlement, Shard, ShardState, Stale, now
from tests.support.ledger.rows import LEASE, intend, make_batch, reread, try_intend


async def uploaded(ledger: Ledger, shard: Shard, file_id: str = "file-1") -> Shard:
    attempt = await intend(ledger, shard)
    assert await ledger.shards.mark_dispatched(attempt, LEASE, remote_file_id=file_id)
    return await reread(ledger, shard)


async def again(ledger: Ledger, shard: Shard, token: str, file_token: str) -> Shard | Stale:
    return await try_intend(ledger, shard, token, file_token=file_token)


async def test_an_upload_is_kept_with_its_age_until_it_is_sent_again(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    sent = await uploaded(ledger, shard)
    assert sent.uploaded_at is not None
    assert (sent.remote_file_id, sent.file_token) == ("file-1", sent.token)
    assert isinstance(await ledger.shards.requeue(sent, "later", now()), Batch)
    attempt = await again(ledger, shard, "t2", sent.file_token)
    assert isinstance(attempt, Shard)
    assert await ledger.shards.mark_dispatched(attempt, LEASE, remote_file_id="file-1")
    resent = await reread(ledger, shard)
    assert (resent.token, resent.file_token) == ("t2", sent.file_token)
    assert (resent.remote_file_id, resent.uploaded_at) == ("file-1", sent.uploaded_at)
    await ledger.shards.submitted(resent, "b", "", now())
    assert (await reread(ledger, shard)).remote_file_id == "file-1"


async def test_a_refusal_after_the_check_keeps_it_too(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    sent = await uploaded(ledger, shard)
    await ledger.shards.submitted(sent, "b", "file-1", now())
    submitted = await reread(ledger, shard)
    assert isinstance(await ledger.shards.requeue(submitted, "full", now()), Batch)
    queued = await reread(ledger, shard)
    assert (queued.remote_file_id, queued.remote_id) == ("file-1", "")
    assert queued.uploaded_at == sent.uploaded_at
    assert queued.rejects_prefix == sent.rejects_prefix


async def test_who_knows_of_an_older_upload_may_not_send_it(ledger: Ledger) -> None:
    """A dispatcher that read the shard before another one uploaded anew."""
    _, (shard, _) = await make_batch(ledger)
    first = await uploaded(ledger, shard)
    await ledger.shards.requeue(first, "lost", now(), input_lost=True)
    assert isinstance(await again(ledger, shard, "t2", first.file_token), Stale)
    second = await intend(ledger, shard, "t3")
    assert await ledger.shards.mark_dispatched(second, LEASE, remote_file_id="file-2")
    await ledger.shards.requeue(second, "later", now())
    assert isinstance(await again(ledger, shard, "t4", first.file_token), Stale)
    assert isinstance(await again(ledger, shard, "t4", second.file_token), Shard)


async def test_what_lies_there_under_another_name_is_remembered(ledger: Ledger) -> None:
    _, (shard, other) = await make_batch(ledger)
    sent = await uploaded(ledger, shard)
    await ledger.shards.requeue(sent, "later", now())
    await intend(ledger, shard, "t2")
    fresh = await reread(ledger, shard)
    assert (fresh.remote_file_id, fresh.uploaded_at, fresh.stray_uploads) == ("", None, True)
    taken = await intend(ledger, other, "t1")
    assert isinstance(await ledger.shards.revert_to_queued(taken), Batch)
    assert (await reread(ledger, other)).stray_uploads, "it may have been uploaded"


async def test_one_deletes_what_a_settled_shard_has_left(ledger: Ledger) -> None:
    batch, (shard, other) = await make_batch(ledger)
    await uploaded(ledger, shard)
    assert await ledger.remote_files.take(shard.id) is None, "it is in use"
    settled = await ledger.shards.settle(await reread(ledger, shard), Settlement(0, 1))
    assert isinstance(settled, Batch)
    assert await ledger.remote_files.left(batch.id) == [shard.id]
    taken = await asyncio.gather(*(ledger.remote_files.take(shard.id) for _ in range(6)))
    (left,) = [each for each in taken if each is not None]
    assert left == LeftFile(
        shard.id,
        batch.id,
        shard.provider,
        "file-1",
        False,
        (await reread(ledger, shard)).created_at,
        (await reread(ledger, shard)).settled_at or now(),
    )
    assert await ledger.remote_files.left(batch.id) == []
    # Settled in the middle of its upload.
    await intend(ledger, other, "t1")
    await ledger.shards.settle(await reread(ledger, other), Settlement(0, 1))
    left = await ledger.remote_files.take(other.id)
    assert (left.remote_file_id, left.orphans) == ("", True)


async def test_where_results_are_is_kept_until_lines_are_missing(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    await ledger.shards.submitted(attempt, "b", "", now())
    await ledger.shards.fetching(attempt, "completed", {"remote_id": "b"})
    fetching = await reread(ledger, shard)
    assert fetching.remote_result == {"remote_id": "b"}
    await ledger.shards.unreachable(fetching, "away", now() + timedelta(seconds=1))
    assert (await reread(ledger, shard)).remote_result == {"remote_id": "b"}
    await ledger.shards.refetch(fetching, "lines are missing", now())
    assert (await reread(ledger, shard)).remote_result is None
    assert await ledger.shards.found_results(fetching, {"remote_id": "c"})
    assert (await reread(ledger, shard)).remote_result == {"remote_id": "c"}
    await ledger.shards.settle(await reread(ledger, shard), Settlement(1, 0))
    assert not await ledger.shards.found_results(fetching, {"remote_id": "d"})
    assert (await reread(ledger, shard)).state == ShardState.SETTLED

"""The state machines, each transition with its zero-row case."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel, select

from core.ledger import (
    Batch,
    BatchState,
    File,
    FileGone,
    FileInUse,
    Ledger,
    RequestIdReused,
    Settlement,
    Shard,
    ShardState,
    Stale,
    Stop,
    new_id,
    now,
)
from core.ledger.engine import make_migration_engine
from tests.support.ledger.rows import (
    LEASE,
    create,
    intend,
    make_batch,
    make_file,
    new_batch,
    new_shard,
    reread,
    try_intend,
)


def parts(batch: Batch) -> tuple[int, ...]:
    return (
        batch.queued,
        batch.submitted,
        batch.processed,
        batch.retrying,
        batch.succeeded,
        batch.failed,
    )


async def test_a_batch_that_is_settled_by_its_planning_is_due_at_once(ledger: Ledger) -> None:
    # Should whoever plans it die before it says so, the sweep finds it.
    batch = new_batch(await make_file(ledger))
    batch.reuse_seconds = 3600.0
    await ledger.batches.create(batch)
    shard = new_shard(batch, 0, batch.total)
    shard.state, shard.succeeded = ShardState.SETTLED, batch.total
    planned = await ledger.batches.plan(batch.id, [shard])
    assert isinstance(planned, Batch)
    assert planned.all_settled
    assert planned.due_at <= now()


async def test_prices_stay_as_they_were_and_are_read_only_when_asked_for(ledger: Ledger) -> None:
    batch = new_batch(await make_file(ledger))
    batch.prices = prices = '{"form": 1, "prices": []}'
    await ledger.batches.create(batch)
    await ledger.batches.plan(batch.id, [new_shard(batch, 0, 10)])
    assert isinstance(await ledger.batches.cancel(batch.id), Batch)
    assert await ledger.batches.prices(batch.id) == prices
    # They may be megabytes, and rows of batches are read at every step.
    read = [
        await ledger.batches.get(batch.id),
        *await ledger.batches.page(batch.account_id, 9, None),
    ]
    assert all("prices" in sa.inspect(each).unloaded for each in read)
    assert await ledger.batches.prices("batch_none") is None


async def test_the_way_of_a_batch_keeps_counts_that_add_up(ledger: Ledger) -> None:
    batch, (first, _) = await make_batch(ledger)
    assert batch.state == BatchState.IN_PROGRESS
    assert parts(batch) == (10, 0, 0, 0, 0, 0)

    first = await intend(ledger, first)
    sent = await ledger.shards.submitted(first, "batch_r1", "file-1", now())
    assert isinstance(sent, Batch)
    assert parts(sent) == (4, 6, 0, 0, 0, 0)
    assert sent.revision > batch.revision

    first = await ledger.shards.get(first.id) or first
    polled = await ledger.shards.polled(first, "in_progress", 5, now())
    assert isinstance(polled, Batch)
    assert parts(polled) == (4, 1, 5, 0, 0, 0)
    first = await ledger.shards.get(first.id) or first
    assert await ledger.shards.polled(first, "in_progress", 3, now()) is None, "never falls"

    assert isinstance(await ledger.shards.fetching(first, "completed"), Batch)
    retry = new_shard(batch, 0, 2)
    retry.round = 1
    settled = await ledger.shards.settle(first, Settlement(3, 1, retried=2), [retry])
    assert isinstance(settled, Batch)
    assert parts(settled) == (4, 0, 0, 2, 3, 1)
    assert settled.finished_high_water == 5, "progress does not fall when lines are retried"

    for shard in (await ledger.shards.of_batch(batch.id))[1:]:
        assert isinstance(await ledger.batches.start_finalizing(batch.id, "one", LEASE), Stale)
        await ledger.shards.settle(shard, Settlement(shard.line_count, 0))
    final = await ledger.batches.start_finalizing(batch.id, "one", LEASE)
    assert isinstance(final, Batch)
    assert final.state == BatchState.FINALIZING
    ended = await ledger.batches.end(
        batch.id, BatchState.COMPLETED, "prefix", succeeded=9, failed=1
    )
    assert isinstance(ended, Batch)
    assert parts(ended) == (0, 0, 0, 0, 9, 1)
    assert ended.completed_at is not None
    again = await ledger.batches.end(batch.id, BatchState.EXPIRED, "other", succeeded=0, failed=10)
    assert isinstance(again, Stale)


async def test_what_a_transition_hands_out_is_what_it_wrote(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    intended = await intend(ledger, shard)
    pairs: list[tuple[SQLModel, SQLModel]] = [(intended, await reread(ledger, intended))]
    settled = await ledger.shards.settle(intended, Settlement(shard.line_count, 0))
    assert isinstance(settled, Batch)
    pairs.append((settled, await reread(ledger, settled)))
    for given, kept in pairs:
        for name in type(given).model_fields:
            if name == "prices":
                continue
            value, found = getattr(given, name), getattr(kept, name)
            assert value == found, name
            # PostgreSQL's sums are decimals; names of states are texts there.
            assert isinstance(value, type(found)), name


async def test_an_assembler_that_was_replaced_has_its_lease_no_more(ledger: Ledger) -> None:
    batch, shards = await make_batch(ledger)
    for shard in shards:
        attempt = await intend(ledger, shard)
        await ledger.shards.settle(attempt, Settlement(0, shard.line_count))
    assert isinstance(await ledger.batches.start_finalizing(batch.id, "one", LEASE), Batch)
    assert await ledger.batches.renew_lease(batch.id, "one", LEASE)
    assert isinstance(await ledger.batches.start_finalizing(batch.id, "two", LEASE), Batch)
    assert not await ledger.batches.renew_lease(batch.id, "one", LEASE)
    assert await ledger.batches.renew_lease(batch.id, "two", LEASE)
    ended = await ledger.batches.end(
        batch.id, BatchState.COMPLETED, "results", succeeded=0, failed=10
    )
    assert isinstance(ended, Batch)
    assert not await ledger.batches.renew_lease(batch.id, "two", LEASE), "it has ended"


async def test_of_many_dispatchers_one_gets_the_shard(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    outcomes = await asyncio.gather(*(try_intend(ledger, shard, f"t{n}") for n in range(8)))
    assert sum(isinstance(outcome, Shard) for outcome in outcomes) == 1


async def test_an_older_attempt_cannot_move_a_shard(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    old = await intend(ledger, shard, "old")
    assert isinstance(await ledger.shards.requeue(old, "absent", now()), Batch)
    await intend(ledger, shard, "new")
    assert isinstance(await ledger.shards.submitted(old, "batch_x", "", now()), Stale)


async def test_cancel_settles_what_was_not_sent(ledger: Ledger) -> None:
    batch, (first, _) = await make_batch(ledger)
    await intend(ledger, first)
    cancelled = await ledger.batches.cancel(batch.id)
    assert isinstance(cancelled, Batch)
    assert (cancelled.state, cancelled.stop) == (BatchState.CANCELLING, Stop.CANCEL)
    assert isinstance(await ledger.batches.cancel(batch.id), Stale)
    settled = await ledger.batches.settle_queued(batch.id)
    assert isinstance(settled, Batch)
    assert parts(settled) == (6, 0, 0, 0, 0, 4)
    assert isinstance(await ledger.batches.settle_queued(batch.id), Stale)


async def test_a_batch_cancelled_before_planning_sends_nothing(ledger: Ledger) -> None:
    batch = await create(ledger, new_batch(await make_file(ledger)))
    await ledger.batches.cancel(batch.id)
    planned = await ledger.batches.plan(batch.id, [new_shard(batch, 0, 10)])
    assert isinstance(planned, Batch)
    assert planned.state == BatchState.CANCELLING
    assert parts(planned) == (0, 0, 0, 0, 0, 10)


async def test_the_window_closes_once_and_only_in_time(ledger: Ledger) -> None:
    early, _ = await make_batch(ledger)
    assert isinstance(await ledger.batches.close_window(early.id), Stale)
    late = await create(ledger, new_batch(await make_file(ledger, upload="upload-2"), window=-1))
    await ledger.batches.plan(late.id, [new_shard(late, 0, 10)])
    closed = await ledger.batches.close_window(late.id)
    assert isinstance(closed, Batch)
    assert closed.stop == Stop.EXPIRE
    assert isinstance(await ledger.batches.close_window(late.id), Stale)


async def test_a_stopping_batch_sends_no_more(ledger: Ledger) -> None:
    batch, (shard, _) = await make_batch(ledger)
    await ledger.batches.cancel(batch.id)
    outcome = await try_intend(ledger, shard)
    assert isinstance(outcome, Stale)


async def test_request_ids_repeat_or_are_refused(ledger: Ledger) -> None:
    file = await make_file(ledger)
    first = await create(ledger, new_batch(file, "r1"))
    again = await create(ledger, new_batch(file, "r1"))
    assert again.id == first.id
    other = new_batch(file, "r1")
    other.request_digest = "else"
    assert await ledger.batches.create(other) == RequestIdReused(first.id)
    stranger = new_batch(await make_file(ledger, "acct_b"), "r1")
    assert await ledger.batches.create(stranger) is stranger


async def test_a_file_in_use_stays(ledger: Ledger) -> None:
    batch, _ = await make_batch(ledger)
    assert await ledger.files.delete("acct_a", batch.input_file_id) == FileInUse(batch.id)
    assert await ledger.files.delete("acct_b", batch.input_file_id) is None
    file = await make_file(ledger, upload="upload-9")
    deleted = await ledger.files.delete("acct_a", file.id)
    assert isinstance(deleted, File)
    assert await ledger.batches.create(new_batch(file)) == FileGone()


async def test_finishing_an_upload_twice_gives_one_file(ledger: Ledger) -> None:
    await ledger.files.begin_upload("acct_a", "upload-1")
    first = await make_file(ledger)
    assert (await make_file(ledger)).id == first.id
    assert (await ledger.files.begin_upload("acct_a", "upload-1")) is not None
    assert await ledger.files.find_upload("acct_b", "upload-1") is None


async def test_one_sweeper_takes_an_overdue_shard(ledger: Ledger) -> None:
    _, shards = await make_batch(ledger)
    overdue = await ledger.shards.overdue((ShardState.QUEUED,), now(), 10)
    assert {shard.id for shard in overdue} == {shard.id for shard in shards}
    taken = [await ledger.shards.take_overdue(overdue[0], now()) for _ in range(3)]
    assert taken == [True, False, False]


async def all_rows(url: str) -> str:
    """Whatever is in the database's tables."""
    engine = make_migration_engine(url)
    async with engine.connect() as connection:
        found = [
            str((await connection.execute(select(table))).all())
            for table in SQLModel.metadata.sorted_tables
        ]
    await engine.dispose()
    return "\n".join(found)


async def test_keys_are_kept_as_hashes_and_can_be_revoked(
    ledger: Ledger, database_url: str
) -> None:
    key = await ledger.accounts.create_key("alpha", "laptop")
    other = await ledger.accounts.create_key("alpha")
    assert key.account_id == other.account_id
    found = await ledger.accounts.authenticate(key.secret)
    assert found.account_id == key.account_id
    rows = await all_rows(database_url)
    assert key.key_id in rows
    assert key.secret not in rows
    assert await ledger.accounts.revoke_key(key.key_id)
    assert await ledger.accounts.authenticate(key.secret) is None
    assert not await ledger.accounts.revoke_key(key.key_id)


async def test_a_moment_without_a_zone_is_refused(ledger: Ledger) -> None:
    file = await make_file(ledger)
    batch = new_batch(file)
    batch.due_at = batch.due_at.replace(tzinfo=None)
    with pytest.raises(Exception, match="without a time zone"):
        await ledger.batches.create(batch)


async def test_the_shards_shown_are_the_unsettled_ones_first(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await make_file(ledger)
    batches = [new_batch(file), new_batch(file), new_batch(file)]
    for batch in batches:
        await ledger.batches.create(batch)
    for batch in batches[:2]:
        shards = [new_shard(batch, ordinal, 2) for ordinal in range(5)]
        for ordinal in (0, 2):
            shards[ordinal].state = ShardState.SETTLED
        await ledger.batches.plan(batch.id, shards)
    shown = await ledger.shards.shown([batch.id for batch in batches], 4)
    assert [[shard.ordinal for shard in shown[batch.id]] for batch in batches] == [
        [1, 3, 4, 0],
        [1, 3, 4, 0],
        [],
    ]
    monkeypatch.setattr(ledger.shards, "_database", None)
    assert await ledger.shards.shown([], 4) == {}, "nothing is asked"


async def test_a_long_outage_does_not_use_up_the_attempts_of_a_shard(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    for attempt in range(1, 12):
        sent = await intend(ledger, shard, f"t{attempt}")
        assert sent.attempts == min(attempt, 8)
        assert isinstance(await ledger.shards.requeue(sent, "away", now()), Batch)
    known = await reread(ledger, shard)
    again = known.successor(new_id("shard"), lines=2, round_number=0, due_at=now())
    assert again.attempts == 7, "the rest of a refused shard goes on as it was"
    ran = known.successor(new_id("shard"), lines=2, round_number=1, due_at=now())
    assert ran.attempts == 0, "lines that ran show that the provider takes them"

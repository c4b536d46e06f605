"""How long shards took is kept for estimates, the newest ones of each model."""

from __future__ import annotations

from datetime import timedelta

from core.failpoints import Failpoint
from core.ledger import BatchDuration, BatchState, Ledger, ShardState, now
from core.ledger.durations import Durations, learn_run
from core.pipeline.expected_end import expected_end
from tests.support.ledger.rows import add_rows, batch_row, file_row, shard_row


def duration(number: int, seconds: float = 100.0) -> BatchDuration:
    return BatchDuration(
        shard_id=f"shard_{number:020}",
        account_id="acct_1",
        provider="openai",
        model="gpt-4.1",
        line_count=10,
        seconds=seconds,
        ended_at=now() - timedelta(minutes=1000 - number),
    )


async def test_the_newest_are_kept_and_read_now_and_then(ledger: Ledger) -> None:
    await add_rows(ledger, *(duration(number) for number in range(230)))
    clock = [0.0]
    durations = Durations(ledger.durations._database, lambda: clock[0])
    known = await durations.newest("openai", "gpt-4.1")
    file = await ledger.files.finish_upload(file_row())
    batch = batch_row(file)
    database = ledger.durations._database
    for number in range(40):
        shard = shard_row(batch, line_count=10, remote_model="gpt-4.1", ordinal=number)
        # Of a made-up id it hangs on luck whether it is among the one in sixteen that forget.
        shard.id = f"shard_new_{number}"
        shard.submitted_at = now() - timedelta(seconds=7)
        async with database.write(Failpoint.SHARD_FETCHING) as session:
            await learn_run(session, database, shard, batch)
            await learn_run(session, database, shard, batch)
    assert await durations.newest("openai", "gpt-4.1") is known
    clock[0] = 31.0
    fresh = await durations.newest("openai", "gpt-4.1")
    assert fresh is not known
    async with database.read() as session:
        left = (await session.exec(BatchDuration.__table__.select())).all()  # type: ignore[attr-defined, call-overload]
    assert 200 <= len(left) < 240, "now and then the oldest are forgotten"
    assert duration(229).shard_id in {row.shard_id for row in left}
    assert duration(0).shard_id not in {row.shard_id for row in left}


async def test_a_batch_that_runs_has_an_expected_end_once_enough_is_known(ledger: Ledger) -> None:
    file = await ledger.files.finish_upload(file_row())
    moment = now()
    batch = batch_row(file, state=BatchState.IN_PROGRESS, total=10, shard_count=1)
    shard = shard_row(
        batch,
        line_count=10,
        state=ShardState.SUBMITTED,
        remote_model="gpt-4.1",
        submitted_at=moment - timedelta(seconds=40),
    )
    await add_rows(ledger, *(duration(number, 90.0 + 5 * number) for number in range(4)))
    assert await expected_end(ledger, batch, [shard]) is None
    await add_rows(ledger, duration(4, 110.0))
    ledger.durations._known.clear()
    found = await expected_end(ledger, batch, [shard])
    assert found is not None
    likely = found.likely_from.ToDatetime(tzinfo=moment.tzinfo) - moment
    assert timedelta(seconds=50) < likely < timedelta(seconds=75)
    assert found.range_from.ToDatetime() <= found.likely_from.ToDatetime()
    assert found.likely_until.ToDatetime() <= found.range_until.ToDatetime()
    batch.expires_at = moment + timedelta(seconds=10)
    closing = await expected_end(ledger, batch, [shard])
    assert closing is not None
    assert closing.range_until.ToDatetime(tzinfo=moment.tzinfo) == batch.expires_at
    batch.paused_at = moment
    assert await expected_end(ledger, batch, [shard]) is None

"""The canary, and the share of failures that a batch allows: what is judged as shards settle."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core.ledger import (
    Batch,
    CanaryState,
    Held,
    Ledger,
    Settlement,
    Shard,
    ShardPurpose,
    ShardState,
    now,
)
from tests.integration.ledger.test_pauses import tried
from tests.support.ledger.rows import LEASE, intend, make_file, new_batch, reread, shard_row


async def planned(
    ledger: Ledger, *shards: tuple[int, str, ShardPurpose], **options: Any
) -> tuple[Batch, list[Shard]]:
    """A batch of such shards: lines, model, purpose."""
    row = new_batch(await make_file(ledger))
    row.total = row.queued = sum(lines for lines, *_ in shards)
    for name, value in options.items():
        setattr(row, name, value)
    batch = await ledger.batches.create(row)
    assert isinstance(batch, Batch)
    rows = [
        shard_row(batch, ordinal=number, line_count=lines, model=model, purpose=purpose)
        for number, (lines, model, purpose) in enumerate(shards)
    ]
    assert isinstance(await ledger.batches.plan(batch.id, rows), Batch)
    return batch, await ledger.shards.of_batch(batch.id)


async def settle(ledger: Ledger, shard: Shard, settlement: Settlement, *retry: Shard) -> Batch:
    fresh = await reread(ledger, shard)
    if fresh.state == ShardState.QUEUED:
        fresh = await intend(ledger, fresh, f"t{fresh.ordinal}")
    settled = await ledger.shards.settle(fresh, settlement, retry)
    assert isinstance(settled, Batch)
    return settled


RUNNING = {"canary_lines": 10, "canary_state": CanaryState.RUNNING}
FIRST, REST = ShardPurpose.CANARY, ShardPurpose.NONE


async def test_the_others_wait_for_the_canary_with_its_retries_and_go_if_few_failed(
    ledger: Ledger,
) -> None:
    batch, (canary, rest) = await planned(
        ledger, (10, "a", FIRST), (90, "a", REST), canary_max_failure_rate=0.1, **RUNNING
    )
    assert (rest.held, canary.held) == (True, False)
    assert "10 lines of each model" in rest.waiting_reason
    assert isinstance(await tried(ledger, rest), Held)
    assert await ledger.pauses.hold(rest) is None
    again = canary.successor("shard_again", lines=2, round_number=1, due_at=now())
    waiting = await settle(ledger, canary, Settlement(7, 1, retried=2), again)
    assert waiting.canary_state == CanaryState.RUNNING
    assert isinstance(await tried(ledger, rest), Held), "its retries are still out"
    passed = await settle(ledger, again, Settlement(2, 0))
    assert (passed.canary_state, passed.halt_code) == (CanaryState.PASSED, "")
    assert not (await reread(ledger, rest)).waiting_reason
    assert [each.id for each in await ledger.pauses.of_batch(batch.id)] == [rest.id]
    assert isinstance(await tried(ledger, rest), Shard)


async def test_each_model_is_judged_by_itself(ledger: Ledger) -> None:
    """In all, 3 of 20 failed, which would be few enough."""
    _, (good, bad, rest) = await planned(
        ledger,
        (10, "good", FIRST),
        (10, "bad", FIRST),
        (80, "good", REST),
        canary_max_failure_rate=0.2,
        **RUNNING,
    )
    await settle(ledger, good, Settlement(10, 0))
    halted = await settle(ledger, bad, Settlement(7, 3))
    assert (halted.canary_state, halted.halt_code) == (CanaryState.FAILED, "canary_failed")
    assert halted.halted_revision == halted.revision
    assert "failed 3 of 10 of bad," in halted.halt_message
    assert halted.all_settled, "what was queued is settled with it"
    assert (halted.succeeded, halted.failed, halted.cancelled) == (17, 83, 0)
    unsent = await reread(ledger, rest)
    assert (unsent.fill_code, unsent.withheld) == ("canary_failed", 80)
    assert unsent.fill_message.startswith("It was not sent: of the lines that went first failed")


async def test_lines_that_were_never_sent_say_nothing_of_a_model(ledger: Ledger) -> None:
    _, (canary, _) = await planned(
        ledger, (10, "a", FIRST), (10, "a", REST), canary_max_failure_rate=0.0, **RUNNING
    )
    passed = await settle(ledger, canary, Settlement(4, 6, withheld=6))
    assert passed.canary_state == CanaryState.PASSED


@pytest.mark.parametrize(
    ("succeeded", "failed", "over"),
    [(15, 4, False), (71, 29, False), (70, 30, True), (0, 19, False), (0, 20, True)],
    ids=["too few", "just as many", "more", "too few, all failed", "all failed"],
)
async def test_nothing_more_is_sent_above_the_share_that_may_fail(
    ledger: Ledger, succeeded: int, failed: int, over: bool
) -> None:
    lines = succeeded + failed
    batch, (first, sent, queued) = await planned(
        ledger, (lines, "a", REST), (5, "a", REST), (50, "a", REST), max_failure_rate=0.29
    )
    under_way = await intend(ledger, sent)
    settled = await settle(ledger, first, Settlement(succeeded, failed))
    assert bool(settled.halt_code) is over
    assert ((await reread(ledger, queued)).state == ShardState.SETTLED) is over
    if not over:
        return
    assert settled.halt_code == "failure_limit"
    assert f"{failed} of the {lines} lines" in settled.halt_message
    assert (await ledger.pauses.kept([batch.id])).halted == {batch.id}
    # What is being uploaded is not let go; what is at a provider comes home, and is not retried.
    assert isinstance(await ledger.shards.mark_dispatched(under_way, now() - now()), Held)
    again = sent.successor("shard_again", lines=1, round_number=1, due_at=now())
    ended = await settle(ledger, under_way, Settlement(4, 0, retried=1), again)
    assert (ended.all_settled, ended.halted_revision < ended.revision) == (True, True)
    assert (await reread(ledger, again)).fill_code == "failure_limit"


async def test_lines_that_were_stopped_or_withheld_are_no_failures(ledger: Ledger) -> None:
    _, (first, second) = await planned(
        ledger, (40, "a", REST), (5, "a", REST), max_failure_rate=0.1
    )
    settled = await settle(ledger, first, Settlement(19, 21, expired=10, withheld=10))
    assert not settled.halt_code, "1 of 20 failed"
    assert (await reread(ledger, second)).state == ShardState.QUEUED


async def test_a_batch_of_which_nothing_can_go_first_goes_at_once(ledger: Ledger) -> None:
    batch, (rest,) = await planned(ledger, (5, "a", REST), **RUNNING)
    assert not rest.held
    found = await ledger.batches.get(batch.id)
    assert found is not None
    assert found.canary_state == CanaryState.PASSED


async def test_a_canary_that_is_given_up_has_failed(ledger: Ledger) -> None:
    """Its provider refuses the key of a batch that fails fast: the others do not wait for it."""
    _, (canary, rest) = await planned(
        ledger, (10, "a", FIRST), (90, "a", REST), canary_max_failure_rate=0.1, **RUNNING
    )
    sent = await intend(ledger, canary)
    assert await ledger.shards.mark_dispatched(sent, LEASE) is True
    until = now() + timedelta(days=29)
    halted = await ledger.late.give_up(await reread(ledger, sent), "refused_key", "why", until)
    assert isinstance(halted, Batch)
    assert (halted.canary_state, halted.halt_code) == (CanaryState.FAILED, "canary_failed")
    assert "failed 10 of 10 of a," in halted.halt_message
    assert halted.all_settled
    assert (await reread(ledger, rest)).fill_code == "canary_failed"


async def test_lines_that_take_the_outcome_of_others_halt_nothing(ledger: Ledger) -> None:
    """A max cost held back what they wait for: nothing has failed, and nothing is left to keep."""
    _, (first, twins) = await planned(
        ledger, (30, "a", REST), (30, "a", ShardPurpose.TWINS), max_failure_rate=0.1
    )
    await settle(ledger, first, Settlement(5, 25, withheld=25))
    ended = await settle(ledger, twins, Settlement(5, 25))
    assert (ended.all_settled, ended.halt_code) == (True, "")

"""Whose turn it is, where places are few: by account, then by priority, then by age."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random

import pytest

from core.ledger import (
    AtCapacity,
    Batch,
    Ledger,
    OverQuota,
    Priority,
    Settlement,
    Shard,
    now,
)
from tests.support.ledger.rows import file_row, intend, new_batch, reread, shard_row

LATER = timedelta(minutes=1)
MODEL = "gpt-4.1"


async def plan(
    ledger: Ledger, account: str, shards: int, priority: Priority = Priority.NORMAL
) -> list[Shard]:
    file = await ledger.files.finish_upload(file_row(account_id=account, line_count=shards))
    row = new_batch(file)
    row.total = row.queued = shards
    row.priority = priority
    batch = await ledger.batches.create(row)
    assert isinstance(batch, Batch)
    rows = [
        shard_row(batch, ordinal=n, line_count=1, priority=priority, remote_model=MODEL)
        for n in range(shards)
    ]
    assert isinstance(await ledger.batches.plan(batch.id, rows), Batch)
    return await ledger.shards.of_batch(batch.id)


async def send(ledger: Ledger, shard: Shard) -> Shard | OverQuota:
    """One at a time fits under the limit."""
    outcome = await ledger.shards.intend(
        shard.id,
        token=f"t{shard.id}",
        remote_model=MODEL,
        sent_lines=1,
        sent_bytes=1,
        sent_sha256="",
        rejects_prefix="",
        credential="",
        lease=LATER,
        tokens=100,
        limited=True,
        ceiling=100,
    )
    if isinstance(outcome, OverQuota):
        await ledger.shards.wait_for_quota(shard, "full", now() + LATER)
    assert isinstance(outcome, Shard | OverQuota)
    return outcome


async def drain(ledger: Ledger, sent: Shard, most: int) -> list[str]:
    """Let one after the other end, and the next one go; the accounts in their order."""
    accounts = []
    while len(accounts) < most:
        await ledger.shards.settle(await reread(ledger, sent), Settlement(1, 0))
        waiting = await ledger.quotas.next_waiting("openai", MODEL)
        if waiting is None:
            break
        outcome = await send(ledger, waiting)
        assert isinstance(outcome, Shard), "whose turn it is may go"
        sent = outcome
        accounts.append(sent.account_id)
    return accounts


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(each, marks=pytest.mark.long) for each in (1, 2))]
)
async def test_under_a_limit_for_one_the_accounts_take_turns(ledger: Ledger, seed: int) -> None:
    """However much each has waiting, and whatever priority it gives that."""
    random = Random(seed)
    names = ["acct_large", "acct_b", "acct_c"]
    large = await plan(ledger, names[0], 9, Priority.HIGH)
    small = [await plan(ledger, name, 3) for name in names[1:]]
    first = await send(ledger, large[0])
    assert isinstance(first, Shard)
    others = [*large[1:], *(shard for shards in small for shard in shards)]
    random.shuffle(others)
    for shard in others:
        assert isinstance(await send(ledger, shard), OverQuota)
    order = await drain(ledger, first, 9)
    assert set(order[:2]) == {"acct_b", "acct_c"}, "those that had nothing yet"
    for end in range(3, 10, 3):
        assert Counter(order[:end]) == dict.fromkeys(names, end // 3)


async def test_within_an_account_the_higher_priority_goes_first(ledger: Ledger) -> None:
    low = await plan(ledger, "acct_a", 2, Priority.LOW)
    normal = await plan(ledger, "acct_a", 1)
    high = await plan(ledger, "acct_a", 2, Priority.HIGH)
    first = await send(ledger, low[0])
    assert isinstance(first, Shard)
    for shard in (low[1], *normal, *high):
        await send(ledger, shard)
    sent, order = first, []
    for _ in range(4):
        await ledger.shards.settle(await reread(ledger, sent), Settlement(1, 0))
        waiting = await ledger.quotas.next_waiting("openai", MODEL)
        assert waiting is not None
        outcome = await send(ledger, waiting)
        assert isinstance(outcome, Shard)
        sent = outcome
        order.append(sent.id)
    assert order == [high[0].id, high[1].id, normal[0].id, low[1].id]


async def test_one_account_with_many_batches_leaves_places_to_run_to_others(
    ledger: Ledger,
) -> None:
    most = {"remote_model": MODEL, "most": 8, "most_of_batch": 2}
    running = 0
    for _ in range(4):
        for shard in await plan(ledger, "acct_large", 3):
            outcome = await ledger.runs.start(shard, **most)  # type: ignore[arg-type]
            running += isinstance(outcome, Batch)
            if isinstance(outcome, AtCapacity):
                await ledger.shards.wait_for_quota(shard, "waits", now() + LATER)
    assert running == 6
    assert await ledger.runs.next_waiting("openai", 8, 2) is None, "the rest is for others"
    (small,) = await plan(ledger, "acct_small", 1)
    assert isinstance(await ledger.runs.start(small, **most), Batch)  # type: ignore[arg-type]


async def test_runs_go_by_account_then_priority(ledger: Ledger) -> None:
    waiting = {
        account: {
            priority: (await plan(ledger, account, 1, priority))[0]
            for priority in (Priority.NORMAL, Priority.HIGH)
        }
        for account in ("acct_a", "acct_b")
    }
    for shards in waiting.values():
        for shard in shards.values():
            await ledger.shards.wait_for_quota(shard, "waits", now() + LATER)
    order = []
    for _ in range(4):
        due = await ledger.runs.next_waiting("openai", 16, 2)
        assert due is not None
        started = await ledger.runs.start(due, remote_model=MODEL, most=16, most_of_batch=2)
        assert isinstance(started, Batch)
        order.append((due.account_id, due.priority))
    assert {account for account, _ in order[:2]} == {"acct_a", "acct_b"}
    assert [priority for _, priority in order] == [3, 3, 2, 2]


async def test_what_could_be_sent_now_is_known_by_account(ledger: Ledger) -> None:
    normal = await plan(ledger, "acct_a", 3)
    high = await plan(ledger, "acct_a", 1, Priority.HIGH)
    (paused,) = await plan(ledger, "acct_b", 1)
    (held, sent) = await plan(ledger, "acct_c", 2)
    await ledger.pauses.pause_batch(paused.batch_id, "key_b")
    await intend(ledger, sent)
    await ledger.shards.wait_for_quota(held, "full", now() + LATER)
    found = await ledger.turns.queued(["openai"], 2)
    assert [(each.id, each.account_id, each.priority) for each in found] == [
        (high[0].id, "acct_a", 3),
        (normal[0].id, "acct_a", 2),
    ]
    assert not await ledger.turns.queued(["elsewhere"], 2)

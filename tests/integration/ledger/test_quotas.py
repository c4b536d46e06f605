"""Enqueued-token limits: learned, obeyed, and shared out in fair order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from core.ledger import (
    Batch,
    Funding,
    Ledger,
    NoFunds,
    OverQuota,
    Shard,
    Stale,
    TokenQuota,
    now,
    quotas,
)
from core.ledger.database import Database
from core.settings import Settings
from tests.support.ledger.rows import (
    LEASE,
    add_rows,
    batch_row,
    create,
    file_row,
    intend,
    reread,
    shard_row,
    try_intend,
)

MODEL = "gpt-4.1"


async def add(ledger: Ledger, account: str, shards: int, **fields: Any) -> tuple[str, list[Shard]]:
    """A planned batch with shards of some size; `fields` as of Batches.create."""
    file = await ledger.files.finish_upload(file_row(account_id=account))
    batch = await create(ledger, batch_row(file, total=shards), **fields)
    rows = [
        shard_row(batch, ordinal=number, model=f"openai/{MODEL}", remote_model=MODEL, line_count=1)
        for number in range(shards)
    ]
    await ledger.batches.plan(batch.id, rows)
    return batch.id, await ledger.shards.of_batch(batch.id)


async def try_to_go(
    ledger: Ledger, shard: Shard, tokens: int = 100, limit: int = 250
) -> Shard | Stale | OverQuota:
    outcome = await try_intend(ledger, shard, tokens=tokens, limited=True, ceiling=limit)
    if isinstance(outcome, OverQuota):
        await ledger.shards.wait_for_quota(shard, "full", now() + timedelta(minutes=1))
    return outcome


async def test_no_more_goes_than_there_is_room_for(ledger: Ledger) -> None:
    _, shards = await add(ledger, "acct_a", 4)
    outcomes = [await try_to_go(ledger, shard) for shard in shards]
    assert [type(outcome) for outcome in outcomes] == [Shard, Shard, OverQuota, OverQuota]
    assert outcomes[2] == OverQuota(enqueued=200, first=None)
    first = outcomes[0]
    assert isinstance(first, Shard)
    await ledger.shards.requeue(first, "refused", now() + timedelta(minutes=1))
    waiting = await ledger.quotas.next_waiting("openai", MODEL)
    assert waiting.id == shards[2].id


async def test_with_nothing_enqueued_any_shard_may_try(ledger: Ledger) -> None:
    _, [shard] = await add(ledger, "acct_a", 1)
    assert isinstance(await try_to_go(ledger, shard, tokens=10_000), Shard)


async def test_the_account_with_the_least_enqueued_goes_first(ledger: Ledger) -> None:
    _, greedy = await add(ledger, "acct_greedy", 5)
    for shard in greedy[:3]:
        await try_to_go(ledger, shard)
    _, modest = await add(ledger, "acct_modest", 2)
    assert isinstance(await try_to_go(ledger, modest[0]), OverQuota)
    running = await ledger.shards.get(greedy[0].id)
    assert running is not None
    await ledger.shards.submitted(running, "batch_r", "", now())
    running = await ledger.shards.get(greedy[0].id)
    assert running is not None
    await ledger.shards.fetching(running, "completed")
    turn = await try_to_go(ledger, greedy[3])
    assert isinstance(turn, OverQuota)
    assert turn.first == modest[0].id, "it came later and has nothing enqueued"
    assert isinstance(await try_to_go(ledger, modest[0]), Shard)


async def test_a_stopping_batch_holds_nobody_up(ledger: Ledger) -> None:
    _, first = await add(ledger, "acct_a", 1)
    await try_to_go(ledger, first[0], tokens=250)
    stopped_id, stopped = await add(ledger, "acct_b", 1)
    assert isinstance(await try_to_go(ledger, stopped[0]), OverQuota)
    await ledger.batches.cancel(stopped_id)
    _, third = await add(ledger, "acct_c", 1)
    assert isinstance(await try_to_go(ledger, third[0], limit=500), Shard)


async def test_tokens_are_estimated_from_what_ran(ledger: Ledger) -> None:
    before = await ledger.quotas.of("openai", MODEL)
    for _ in range(20):
        await ledger.quotas.observe("openai", MODEL, 50_000, 10_000)
    after = await ledger.quotas.of("openai", MODEL)
    assert before.tokens(6000) == 2000
    assert after.tokens(6000) == pytest.approx(1333, abs=10), "5 bytes a token, with caution"


async def test_a_shard_that_shows_nothing_new_writes_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(40):
        await ledger.quotas.observe("openai", MODEL, 50_000, 10_000)
    learned = await ledger.quotas.of("openai", MODEL)

    def written(*_: object) -> None:
        raise AssertionError("written")

    monkeypatch.setattr(Database, "write", written)
    await ledger.quotas.observe("openai", MODEL, 50_000, 10_000)
    assert await ledger.quotas.of("openai", MODEL) == learned
    with pytest.raises(AssertionError, match="written"):
        await ledger.quotas.observe("openai", MODEL, 50_000, 12_000)


async def test_text_and_media_are_learned_apart(ledger: Ledger) -> None:
    """Shards of a model have more or less of either; here media count twice what the rules say."""
    for number in range(60):
        media = (0, 10_000, 1000)[number % 3]
        size = (40_000, 400, 40_000)[number % 3]
        await ledger.quotas.observe("local", MODEL, size, size // 4 + 2 * media, media)
    learned = await ledger.quotas.of("local", MODEL)
    assert learned.tokens(40_000) == pytest.approx(10_000, rel=0.25)
    assert learned.tokens(0, 10_000) == pytest.approx(20_000, rel=0.25)
    assert learned.tokens(40_000, 1000) >= 12_000, "rather too many than too few"


async def go(ledger: Ledger, shard: Shard, tokens: int) -> Shard:
    """Send a shard that has room, or is a probe."""
    return await intend(ledger, shard, tokens=tokens, limited=True)


async def limit(ledger: Ledger) -> int | None:
    return (await ledger.quotas.of("openai", MODEL)).limit


async def refuse(ledger: Ledger, shard: Shard, stated: int | None) -> bool:
    """As a provider that refuses after the create; True when it should have fitted."""
    now_held, within = await ledger.quotas.refused(shard, stated)
    assert now_held == await limit(ledger)
    await ledger.shards.requeue(shard, "token_limit_exceeded", now(), over_limit=within)
    return within


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Moves the time that quotas go by."""
    ahead = timedelta()

    def move(span: timedelta) -> None:
        nonlocal ahead
        ahead += span

    monkeypatch.setattr(quotas, "now", lambda: now() + ahead)
    return move


async def test_a_limit_is_learned_from_a_refusal(ledger: Ledger) -> None:
    _, shards = await add(ledger, "acct_a", 3)
    assert await limit(ledger) is None
    first = await go(ledger, shards[0], 180_000)
    assert await refuse(ledger, first, 90_000)
    assert await limit(ledger) == 90_000
    second = await go(ledger, shards[1], 80_000)
    assert await refuse(ledger, second, None)
    assert await limit(ledger) == 40_000, "half of what should have fitted"


async def test_what_the_provider_has_taken_is_never_too_much(ledger: Ledger) -> None:
    _, shards = await add(ledger, "acct_a", 2)
    first = await go(ledger, shards[0], 180_000)
    await ledger.shards.submitted(first, "batch_r", "", now())
    running = await reread(ledger, first)
    await ledger.shards.polled(running, "in_progress", 0, now())
    second = await go(ledger, shards[1], 100_000)
    await refuse(ledger, second, None)
    assert await limit(ledger) == 180_000


async def test_a_small_shard_that_is_refused_makes_no_small_limit(ledger: Ledger) -> None:
    """Others have taken the room: shards of one line each would take for ever."""
    _, [shard] = await add(ledger, "acct_a", 1)
    await refuse(ledger, await go(ledger, shard, 60), None)
    assert await limit(ledger) == 20_000


async def test_one_probe_goes_at_a_time_and_raises_the_limit(
    ledger: Ledger, clock: Callable[[timedelta], None]
) -> None:
    _, shards = await add(ledger, "acct_a", 5)
    assert await refuse(ledger, await go(ledger, shards[0], 180_000), 90_000)
    await go(ledger, shards[1], 80_000)
    early = await ledger.shards.has_quota(shards[2], 40_000, None)
    assert isinstance(early, OverQuota)
    assert early.look_at is not None
    clock(early.look_at - now())
    assert await ledger.shards.has_quota(shards[2], 40_000, 100_000) is not None, "the operator"
    assert await ledger.shards.has_quota(shards[2], 120_000, None) is not None, "too far"
    probe = await go(ledger, shards[2], 40_000)
    assert isinstance(await ledger.shards.has_quota(shards[3], 40_000, None), OverQuota)
    await ledger.shards.submitted(probe, "batch_p", "", now())
    assert await limit(ledger) == 90_000, "it may still be refused"
    running = await reread(ledger, probe)
    await ledger.shards.polled(running, "validating", 0, now())
    assert await limit(ledger) == 90_000
    running = await reread(ledger, probe)
    await ledger.shards.polled(running, "in_progress", 0, now())
    assert await limit(ledger) == 120_000
    await go(ledger, shards[3], 40_000)
    assert await limit(ledger) == 120_000, "the next one is on its way"


async def test_a_probe_that_is_refused_costs_nothing(
    ledger: Ledger, clock: Callable[[timedelta], None]
) -> None:
    _, shards = await add(ledger, "acct_a", 3)
    await refuse(ledger, await go(ledger, shards[0], 180_000), 90_000)
    await go(ledger, shards[1], 80_000)
    clock(timedelta(minutes=2))
    probe = await go(ledger, shards[2], 40_000)
    assert not await refuse(ledger, probe, 90_000)
    again = await reread(ledger, probe)
    assert again.token_refusals == 0
    assert await limit(ledger) == 90_000


async def test_a_probe_that_fails_for_another_reason_says_nothing(
    ledger: Ledger, clock: Callable[[timedelta], None]
) -> None:
    _, shards = await add(ledger, "acct_a", 4)
    await refuse(ledger, await go(ledger, shards[0], 180_000), 90_000)
    await go(ledger, shards[1], 80_000)
    clock(timedelta(minutes=2))
    probe = await go(ledger, shards[2], 40_000)
    await ledger.shards.requeue(probe, "rate", now() + timedelta(minutes=1))
    assert await limit(ledger) == 90_000
    assert isinstance(await ledger.shards.has_quota(shards[3], 40_000, None), OverQuota)
    clock(timedelta(minutes=2))
    await go(ledger, shards[3], 40_000)


async def test_the_operators_limit_caps_what_is_learned(ledger: Ledger) -> None:
    _, [shard] = await add(ledger, "acct_a", 1)
    assert (await ledger.quotas.of("openai", MODEL, 50_000)).limit == 50_000
    await refuse(ledger, await go(ledger, shard, 180_000), 90_000)
    held = await ledger.quotas.of("openai", MODEL, 50_000)
    assert (held.limit, held.reach, held.stated) == (50_000, 50_000, 90_000)


async def test_waiting_is_news_only_once(ledger: Ledger) -> None:
    _, [shard] = await add(ledger, "acct_a", 1)
    until = now() + timedelta(minutes=1)
    assert isinstance(await ledger.shards.wait_for_quota(shard, "full", until), Batch)
    again = await reread(ledger, shard)
    assert await ledger.shards.wait_for_quota(again, "full", until) is None


def test_limits_can_be_set() -> None:
    settings = Settings(enqueued_token_limits="openai/gpt-4.1=2_000_000, openai/*=900000")
    assert settings.enqueued_token_limit("openai", "gpt-4.1") == 2_000_000
    assert settings.enqueued_token_limit("openai", "o3") == 900_000
    assert settings.enqueued_token_limit("anthropic", "claude") is None
    for wrong in ("openai=5", "openai/x=", "openai/x=-1", "openai/x=many"):
        with pytest.raises(ValueError, match="POLYBATCH_ENQUEUED_TOKEN_LIMITS"):
            Settings(enqueued_token_limits=wrong)


async def test_tokens_that_were_given_up_are_not_taken_for_the_limit(ledger: Ledger) -> None:
    _, [old] = await add(ledger, "acct_a", 1)
    sent = await intend(ledger, old, "old", tokens=1_000_000)
    assert await ledger.shards.mark_dispatched(sent, LEASE) is True
    assert isinstance(await ledger.shards.submitted(sent, "remote", "", now()), Batch)
    await ledger.shards.polled(await reread(ledger, old), "in_progress", 0, now())
    await ledger.batches.cancel(old.batch_id)
    until = now() + timedelta(days=29)
    given_up = await reread(ledger, old)
    assert isinstance(await ledger.late.give_up(given_up, "batch_cancelled", "", until), Batch)
    _, [new] = await add(ledger, "acct_b", 1)
    refused = await intend(ledger, new, "new", tokens=100_000)
    limit, _ = await ledger.quotas.refused(refused, None)
    assert limit == 50_000, "half of what was refused alone"


async def test_a_shard_without_funds_is_no_probe(ledger: Ledger) -> None:
    key = await ledger.accounts.create_key("team")
    await ledger.accounts.update(key.account_id, funding=Funding.PREPAID)
    _, rich = await add(ledger, "acct_rich", 2)
    _, [poor] = await add(ledger, key.account_id, 1, reserve_nanos=0)
    learned = now() - timedelta(minutes=2)
    quota = TokenQuota(provider="openai", model=MODEL, limit_tokens=100_000, learned_at=learned)
    await add_rows(ledger, quota)
    going = {"limited": True, "expected_nanos": 10**9}
    assert isinstance(await try_intend(ledger, rich[0], "a", tokens=90_000, **going), Shard)
    lacking = await try_intend(ledger, poor, "b", tokens=20_000, **going)
    assert isinstance(lacking, NoFunds)
    assert isinstance(await try_intend(ledger, rich[1], "c", tokens=20_000, **going), Shard)

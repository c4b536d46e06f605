"""How long answers were: the account's own, else everybody's; and what was learned of prompts."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from core.failpoints import Failpoint
from core.ledger import AnswerLength, Learned, Ledger, UsageRow
from core.ledger.database import Database

DAY = date(2026, 11, 28)
MINE = [("openai", "gpt-4.1"), ("openai", "gpt-5"), ("anthropic", "gpt-4.1")]


@pytest.fixture
async def used(ledger: Ledger, database_url: str) -> Ledger:
    """Usage of two accounts, and of long ago."""
    rows = [
        ("a", "gpt-4.1", 10, 101, DAY),
        ("a", "gpt-4.1", 10, 100, DAY - timedelta(days=30)),
        ("a", "gpt-5", 19, 19_000, DAY),
        ("b", "gpt-5", 81, 81, DAY),
        ("b", "gpt-4.1", 1000, 1, DAY),
        ("a", "gpt-4.1", 1000, 999_000, DAY - timedelta(days=91)),
        ("a", "rare", 5, 50, DAY),
    ]
    database = Database.connect(database_url, pool_size=1)
    async with database.write(Failpoint.SHARD_SETTLE) as session:
        for number, (account, model, lines, tokens, day) in enumerate(rows):
            session.add(
                UsageRow(
                    shard_id=f"shard_{number}",
                    model=model,
                    account_id=account,
                    batch_id="batch_1",
                    provider="openai",
                    day=day,
                    lines=lines,
                    output_tokens=tokens,
                )
            )
    await database.close()
    return ledger


async def test_the_accounts_own_lines_count_if_there_are_enough(used: Ledger) -> None:
    since = DAY - timedelta(days=90)
    found = await used.answer_lengths.of("a", [*MINE, ("openai", "rare")], since)
    assert found == {
        ("openai", "gpt-4.1"): AnswerLength(11, 20, of_account=True),
        # 19 of its own are too few.
        ("openai", "gpt-5"): AnswerLength(191, 100, of_account=False),
    }
    assert await used.answer_lengths.of("a", [], since) == {}


async def test_what_was_learned_of_many_models_is_read_at_once(ledger: Ledger) -> None:
    await ledger.quotas.observe("openai", "gpt-4.1", 40_000, 10_000)
    await ledger.quotas.observe("mistral", "gpt-4.1", 40_000, 10_000)
    found = await ledger.quotas.learned({("openai", "gpt-4.1"), ("openai", "gpt-5")})
    quota = await ledger.quotas.of("openai", "gpt-4.1")
    assert found == {("openai", "gpt-4.1"): Learned(quota.bytes_per_token, 1.0)}
    assert found["openai", "gpt-4.1"].tokens(3_000) == quota.tokens(3_000)

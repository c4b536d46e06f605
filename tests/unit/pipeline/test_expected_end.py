"""When a batch should end: nobody knows while an operator keeps some of it from being sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from core.completion import Duration, Known
from core.ledger import BatchState, Ledger, now
from core.pipeline.expected_end import expected_end
from tests.support.ledger.rows import batch_row, file_row, shard_row


async def test_a_paused_provider_has_no_end() -> None:
    known = Known([Duration("acct_1", 10, 60.0 + second) for second in range(10)])

    async def newest(*_: str) -> Known:
        return known

    ledger = cast(Ledger, SimpleNamespace(durations=SimpleNamespace(newest=newest)))
    batch = batch_row(file_row(), state=BatchState.IN_PROGRESS, shard_count=2, window_seconds=9e3)
    shards = [shard_row(batch, ordinal=number, line_count=10) for number in range(2)]
    ends = await expected_end(ledger, batch, shards)
    assert ends is not None
    assert ends.range_until.ToDatetime(tzinfo=now().tzinfo) > now()
    shards[1].waiting_reason = "paused: key_1 lets nothing be sent to openai"
    assert await expected_end(ledger, batch, shards) is None

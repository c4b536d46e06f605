"""An account without credits: its lines wait, run after a grant, and cost what they cost."""

from __future__ import annotations

import secrets
from decimal import Decimal
from pathlib import Path

import pytest
from polybatch import Batch, BatchState, Funding, PolybatchError

from tests.support.e2e.inputs import write
from tests.support.e2e.stories import ask
from tests.support.e2e.suite import Suite

COUNT = 6
PROVIDERS = ("openai", "anthropic")
WITHDRAWN = [{"kind": "withdrawn", "provider": name} for name in PROVIDERS]


def test_lines_wait_for_credits(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(faults=WITHDRAWN)
    account = f"prepaid-{secrets.token_hex(4)}"
    key = suite.new_key(account)
    path = write(tmp_path / "lines.jsonl", [ask(n, PROVIDERS) for n in range(COUNT)])
    operator = (suite.data_dir / "operator-key").read_text().strip()
    with suite.client(key) as client, suite.client(operator) as operators:
        # Made while nothing limited it, and stopped from being sent until something does.
        batch = client.submit(path)
        operators.accounts.update(account, funding=Funding.PREPAID)
        with pytest.raises(PolybatchError, match="INSUFFICIENT_CREDITS") as refused:
            client.submit(path)
        assert "ask the operator to grant" in str(refused.value)
        suite.sandbox("/sandbox/config", {"faults": []})
        ended: list[Batch] = []
        granted = False
        for snapshot in client.watch(batch.id, timeout=100):
            ended = [snapshot]
            reasons = [shard.waiting_reason for shard in snapshot.shards]
            # Of a batch that is still to be planned there are none.
            waits = reasons and all(reason.startswith("waits for credits") for reason in reasons)
            if waits and not granted:
                assert suite.sandbox("/sandbox/bill")["lines_billed"] == 0
                operators.accounts.grant(account, 5)
                granted = True
        assert granted
        [last] = ended
        assert last.state == BatchState.COMPLETED
        assert last.request_counts.succeeded == COUNT
        cost = sum((line.cost or Decimal(0) for line in client.results(batch.id)), Decimal(0))
        held = operators.accounts.get(account)
        assert (held.balance, held.reserved) == (5 - cost, 0)
        assert cost == last.cost.so_far > 0

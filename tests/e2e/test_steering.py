"""Steering a batch that runs: pauses of batches and providers."""

from __future__ import annotations

import json
from pathlib import Path

from polybatch import BatchState, Client

from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.stories import check_bill
from tests.support.e2e.suite import Suite, wait_for

BUSY = {"kind": "status", "status": 429, "retry_after": 0.2, "method": "POST", "path": "/batches$"}
"""Nothing is created, and everything is tried again."""


def reasons(client: Client, batch_id: str) -> list[str]:
    shards = client.get_batch(batch_id).shards
    return [shard.waiting_reason for shard in shards if shard.state == "queued"]


def test_a_pause_holds_until_it_is_resumed(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(faults=[BUSY])
    path = write(tmp_path / "paused.jsonl", (chat(n) for n in range(20)))
    with suite.client() as client:
        batch = client.submit(path)
        paused = suite.cli("pause", batch.id)
        assert paused.returncode == 0, paused.stderr
        assert "resume" in paused.stderr, "it says what lets it go on"
        by = f"paused: by {client.keys.current().key.id} since "
        assert by in paused.stdout

        def held() -> bool:
            waiting = reasons(client, batch.id)
            return len(waiting) == 2 and all(each.startswith(by) for each in waiting)

        wait_for(held, "both providers' shards to be held")
        suite.sandbox("/sandbox/config", {"faults": []})
        told = suite.cli("get", batch.id, "--json")
        assert json.loads(told.stdout)["paused_by"]
        assert suite.sandbox("/sandbox/bill")["lines_billed"] == 0

        stopped = suite.cli("providers", "pause", "openai", "--json")
        assert json.loads(stopped.stdout)["paused_at"], stopped.stderr
        try:
            assert suite.cli("resume", batch.id).returncode == 0
            wait_for(
                lambda: (
                    [each for each in reasons(client, batch.id) if "be sent to openai" in each]
                    and client.get_batch(batch.id).request_counts.succeeded == 10
                ),
                "the other provider's lines to be answered",
            )
            assert "PAUSED by" in suite.cli("providers", "openai").stdout
        finally:
            resumed = suite.cli("providers", "resume", "openai")
        assert resumed.returncode == 0, resumed.stderr
        ended = client.wait(batch.id, timeout=60)
        assert ended.state == BatchState.COMPLETED
        assert all(line.ok for line in check_answers(client.results(batch.id), range(20)))
    check_bill(suite, 20)

"""Every second call of every kind is throttled: it costs time, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polybatch import BatchState

from tests.support.e2e.stories import ask, check_bill, tell
from tests.support.e2e.suite import Suite

COUNT = 200
EVERY_SECOND = {"kind": "status", "status": 429, "retry_after": 0.3, "every": 2}


def test_every_second_call_is_throttled(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=0.5, faults=[EVERY_SECOND])
    story = tell(suite, tmp_path / "lines.jsonl", [ask(n) for n in range(COUNT)])
    assert story.ended.state == BatchState.COMPLETED
    assert story.outcomes == {"ok": COUNT}
    bill = suite.sandbox("/sandbox/bill")
    assert bill["uploads"] <= 2 * len(story.manifest.shards)
    assert sum(sum(kinds.values()) for kinds in refused(bill)) > 0, "some were throttled"
    suite.sandbox("/sandbox/config", {"faults": []})
    check_bill(suite, COUNT)


def refused(bill: Any) -> list[dict[str, int]]:
    """Refused calls by status, of each provider and kind."""
    return [
        statuses
        for account in bill["providers"].values()
        for statuses in account["refused"].values()
    ]

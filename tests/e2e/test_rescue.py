"""Lines that no batch has answered are called one by one before the window closes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.e2e.stories import ask, check_bill, check_costs, tell
from tests.support.e2e.suite import Suite

# It waits for its rescue.
pytestmark = pytest.mark.long

COUNT = 60


def test_what_was_not_run_is_called_at_its_price(suite: Suite, tmp_path: Path) -> None:
    """Three providers have run some of their lines when they are cancelled."""
    suite.reset_sandbox(batch_seconds=12, cancel_seconds=0.5)
    story = tell(
        suite,
        tmp_path / "lines.jsonl",
        map(ask, range(COUNT)),
        completion_window=timedelta(seconds=60),
        rescue_before=timedelta(seconds=56),
    )
    assert story.ended.state == "completed"
    assert story.outcomes == {"ok": COUNT}
    assert 0 < story.ended.rescued_line_count < COUNT
    assert story.attempts == {1, 2}
    bill = suite.sandbox("/sandbox/bill")
    called = sum(each["calls_billed"] for each in bill["providers"].values())
    assert called == story.ended.rescued_line_count
    check_bill(suite, COUNT)
    check_costs(suite, story.ended.id, [line.cost for line in story.lines])
    assert f"{called} lines were called one by one" in suite.cli("get", story.ended.id).stdout

"""Lines that no batch has answered are called one by one before the window closes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from polybatch import Batch

from tests.support.e2e.direct_server import Server
from tests.support.e2e.inputs import chat
from tests.support.e2e.ledger import close_window
from tests.support.e2e.stories import ask, check_bill, check_costs, tell
from tests.support.e2e.suite import Suite, wait_for

# It waits for its rescue.
pytestmark = pytest.mark.long

COUNT = 60
RESCUE_BEFORE = timedelta(hours=1)


def test_what_was_not_run_is_called_at_its_price(suite: Suite, tmp_path: Path) -> None:
    """Three providers have run some of their lines when they are cancelled."""
    suite.reset_sandbox(batch_seconds=60, cancel_seconds=0.5)
    stalled = False

    def running() -> list[int]:
        providers = suite.sandbox("/sandbox/bill")["providers"]
        return [each["lines_running"] for each in providers.values() if each["batches_created"]]

    def stall_half_way(snapshot: Batch) -> None:
        nonlocal stalled
        counts = snapshot.request_counts
        if stalled or counts.submitted + counts.processed < COUNT:
            return
        stalled = True
        wait_for(lambda: all(running()), "some lines of each to run")
        suite.sandbox("/sandbox/config", {"batch_seconds": 3600})
        close_window(suite, snapshot.id, after=RESCUE_BEFORE)

    story = tell(
        suite,
        tmp_path / "lines.jsonl",
        map(ask, range(COUNT)),
        on_snapshot=stall_half_way,
        rescue_before=RESCUE_BEFORE,
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


def ask_others(number: int) -> dict[str, Any]:
    model = ("mistral/mistral-small-latest", "acme/gpt-4.1")[number % 2]
    line = chat(number)
    line["provider"], line["body"]["model"] = model.partition("/")[0], model
    return line


def test_servers_in_openais_form_and_mistral_are_called_too(
    suite: Suite, server: Server, tmp_path: Path
) -> None:
    server.set(batch_seconds=3600)
    story = tell(
        suite,
        tmp_path / "lines.jsonl",
        map(ask_others, range(20)),
        completion_window=timedelta(seconds=60),
        rescue_before=timedelta(seconds=56),
    )
    assert story.outcomes == {"ok": 20}
    assert story.ended.rescued_line_count == 20
    bill = server.bill
    assert (bill["lines_billed"], bill["extra_billings"], bill["calls"]["begun"]) == (20, 0, 20)

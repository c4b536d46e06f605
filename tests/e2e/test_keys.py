"""A key that its provider refuses: the lines wait for one that works, or fail at once if asked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from polybatch import BatchState

from tests.support.e2e.inputs import write
from tests.support.e2e.stories import ask, check_bill, outcome, tell
from tests.support.e2e.suite import Suite, wait_for

COUNT = 20
PROVIDERS = ("openai", "anthropic")
WITHDRAWN = [{"kind": "withdrawn", "provider": name} for name in PROVIDERS]


def test_lines_wait_for_a_key_that_is_back(suite: Suite, tmp_path: Path) -> None:
    """Refused before anything is sent, and again while it runs."""
    suite.reset_sandbox(batch_seconds=3600, faults=WITHDRAWN)
    seen: list[set[str]] = []

    def on_snapshot(snapshot: object) -> None:
        waiting = {
            shard.provider
            for shard in getattr(snapshot, "shards", ())
            if "refuses its key" in shard.waiting_reason
        }
        states = {shard.state for shard in getattr(snapshot, "shards", ())}
        if waiting == set(PROVIDERS) and states not in seen:
            seen.append(states)
            over = {"batch_seconds": 0} if states == {"submitted"} else {}
            suite.sandbox("/sandbox/config", {"faults": [], **over})
        if states == {"submitted"} and len(seen) == 1:
            suite.sandbox("/sandbox/config", {"faults": WITHDRAWN})

    lines = [ask(n, PROVIDERS) for n in range(COUNT)]
    story = tell(suite, tmp_path / "lines.jsonl", lines, on_snapshot=on_snapshot)
    assert story.ended.state == BatchState.COMPLETED
    assert story.outcomes == {"ok": COUNT}
    assert seen[:2] == [{"queued"}, {"submitted"}]
    check_bill(suite, COUNT)


def test_the_window_ends_the_wait(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(faults=WITHDRAWN)
    story = tell(
        suite,
        tmp_path / "lines.jsonl",
        [ask(n, PROVIDERS) for n in range(COUNT)],
        completion_window=timedelta(seconds=3),
    )
    assert story.outcomes == {"batch_expired": COUNT}
    assert story.attempts == {0}
    check_bill(suite, 0)


def test_fail_fast(suite: Suite, tmp_path: Path) -> None:
    """Unsent lines fail; what had been sent comes home once the key works again."""
    suite.reset_sandbox(faults=WITHDRAWN)
    lines = [ask(n, PROVIDERS) for n in range(COUNT)]
    story = tell(suite, tmp_path / "unsent.jsonl", lines, fail_fast=True)
    assert story.ended.state == BatchState.COMPLETED
    assert set(story.outcomes) == {"invalid_api_key", "authentication_error"}
    assert story.ended.fail_fast

    suite.reset_sandbox(batch_seconds=3600)
    path = write(tmp_path / "sent.jsonl", lines)
    with suite.client() as client:
        batch = client.submit(path, fail_fast=True)
        for snapshot in client.watch(batch.id, timeout=60):
            if snapshot.request_counts.submitted == COUNT:
                suite.sandbox("/sandbox/config", {"faults": WITHDRAWN})
        ended = client.get_batch(batch.id)
        assert ended.request_counts.failed == ended.awaited_line_count == COUNT
        suite.sandbox("/sandbox/config", {"faults": [], "batch_seconds": 0})
        wait_for(lambda: not client.get_batch(batch.id).awaited_line_count, "late answers")
        late = client.get_batch(batch.id)
        found = [outcome(line) for line in client.results(batch.id)]
    assert late.late_line_count == late.request_counts.succeeded == found.count("ok")
    bill = suite.sandbox("/sandbox/bill")
    assert bill["lines_billed"] == found.count("ok")
    assert bill["answers_never_fetched"] == 0

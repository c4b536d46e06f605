"""Steering a batch that runs: pauses, canaries, and what too many failures do."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from polybatch import BatchState, Client
from polybatch.cli import ExitCode

from tests.support.e2e.direct_server import Server, ask
from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.stories import BUSY, check_bill
from tests.support.e2e.suite import Suite, wait_for


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


def test_a_canary_that_fails_keeps_the_others_from_being_sent(suite: Suite, tmp_path: Path) -> None:
    lines = (chat(2 * n, "[[sandbox:error=invalid]]") for n in range(40))
    out = tmp_path / "results.jsonl"
    options = ("--canary", "10", "--canary-max-failure-rate", "0.5", "--priority", "high")
    path = write(tmp_path / "canary.jsonl", lines)
    done = suite.cli("submit", str(path), *options, "-o", str(out))
    assert done.returncode == ExitCode.LINES_FAILED, done.stderr
    with suite.client() as client:
        batch = next(iter(client.list_batches()))
        results = list(check_answers(client.results(batch.id), range(0, 80, 2)))
    assert (batch.state, batch.priority) == (BatchState.COMPLETED, "high")
    assert batch.canary is not None
    assert batch.canary.state == "failed"
    kept_back = [line for line in results if line.error_code == "canary_failed"]
    assert (len(kept_back), {line.attempts for line in kept_back}) == (30, {0})
    assert suite.sandbox("/sandbox/bill")["lines_asked"] == 10
    told = " ".join(suite.cli("get", batch.id).stdout.split())
    assert "30 lines were not sent: of the lines that went first failed 10 of 10 of openai" in told
    assert "failed (10 lines of each model, at most 0.5 of them may fail)" in told


def test_a_canary_that_passes_lets_the_others_go(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=3600)
    path = write(tmp_path / "good.jsonl", (chat(n) for n in range(20)))
    with suite.client() as client:
        batch = client.submit(path, canary_lines=2, max_failure_rate=0.5)
        told = False
        for snapshot in client.watch(batch.id, timeout=60):
            reasons = [shard.waiting_reason for shard in snapshot.shards]
            if not told and any("2 lines of each model that go first" in each for each in reasons):
                told = True
                suite.sandbox("/sandbox/config", {"batch_seconds": 0})
        assert (snapshot.state, snapshot.request_counts.succeeded) == (BatchState.COMPLETED, 20)
        assert snapshot.canary is not None
        assert snapshot.canary.state == "passed"
        assert snapshot.shard_count == 4
        assert told
        assert not snapshot.errors
    check_bill(suite, 20)


@pytest.mark.long
def test_too_many_failures_end_what_runs(suite: Suite, server: Server, tmp_path: Path) -> None:
    """Of five parts the first fails; others run by then, whose calls come home."""
    server.reset(call_seconds=0.05)
    lines = (ask(n, text="[[sandbox:error=invalid]]") for n in range(1500))
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "bad.jsonl", lines), max_failure_rate=0.4)
        ended = client.wait(batch.id, timeout=100)
        results = list(check_answers(client.results(batch.id), range(1500)))
    codes = Counter(line.error_code for line in results)
    kept_back = codes["failure_limit"]
    assert ended.state == BatchState.COMPLETED
    assert set(codes) == {"failure_limit", "invalid_request_error"}
    assert 300 <= kept_back <= 1200, "one part has not begun, one has failed"
    assert {line.attempts for line in results if line.error_code == "failure_limit"} == {0}
    [error] = ended.errors
    assert error.code == "failure_limit"
    assert error.message.startswith(f"{kept_back:,} lines were not sent: ")
    assert server.bill["calls"]["begun"] == 1500 - kept_back

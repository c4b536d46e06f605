"""What a provider had run when a stopped batch ended without it still comes into the results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from polybatch import Batch, BatchState, Client, PolybatchError

from tests.support.e2e.inputs import check_answers, write
from tests.support.e2e.ledger import close_window
from tests.support.e2e.stories import ask, outcome
from tests.support.e2e.suite import Suite, running_suite, wait_for

# Each waits for a batch that is stopped, and for what comes after.
pytestmark = pytest.mark.long

COUNT = 60
NEVER = 3600
"""Seconds that a provider's batch takes until a test lets it run, however slow the machine."""
AWAY = [{"kind": "status", "status": 503}]
PROVIDERS = ("openai", "anthropic")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A suite whose stopped batches hardly wait for their providers."""
    folder = tmp_path_factory.mktemp("impatient")
    with running_suite(folder, POLYBATCH_STOP_GRACE="1") as suite:
        yield suite


@pytest.fixture
def suite(impatient: Suite) -> Suite:
    impatient.reset_sandbox()
    return impatient


def submit_to_run(suite: Suite, client: Client, path: Path) -> Batch:
    """A batch whose lines are all at their providers, which are away from then on.

    Not from the first cancel on: one of an earlier test may come after the sandbox's reset.
    """
    batch = client.submit(write(path, (ask(n, PROVIDERS) for n in range(COUNT))))
    for snapshot in client.watch(batch.id, timeout=60):
        if snapshot.request_counts.submitted == COUNT:
            suite.sandbox("/sandbox/config", {"faults": AWAY})
            return snapshot
    raise AssertionError("it ended before all of it was sent")


def let_it_run_there(suite: Suite) -> None:
    """The providers run all of it, out of sight; then they are back."""
    suite.sandbox("/sandbox/config", {"batch_seconds": 0})
    wait_for(lambda: suite.sandbox("/sandbox/bill")["lines_billed"] == COUNT, "the lines to run")
    suite.sandbox("/sandbox/config", {"faults": []})


def wait_for_late(client: Client, batch: Batch, count: int) -> Batch:
    def come() -> bool:
        return client.get_batch(batch.id).late_line_count == count

    wait_for(come, f"{count} late answers")
    return client.get_batch(batch.id)


@pytest.mark.parametrize("stop", ["cancel", "window"])
def test_paid_answers_come_home_after_the_end(suite: Suite, tmp_path: Path, stop: str) -> None:
    """The providers are away until the grace is over, and run all of it."""
    suite.reset_sandbox(batch_seconds=NEVER)
    with suite.client() as client:
        batch = submit_to_run(suite, client, tmp_path / "lines.jsonl")
        if stop == "cancel":
            client.cancel_batch(batch.id)
        else:
            close_window(suite, batch.id)
        ended = client.wait(batch.id, timeout=60)
        assert ended.state == (BatchState.CANCELLED if stop == "cancel" else BatchState.EXPIRED)
        counts = ended.request_counts
        stopped = counts.cancelled if stop == "cancel" else counts.expired
        assert stopped == counts.unsuccessful == ended.awaited_line_count == COUNT
        assert (ended.results_revision, ended.late_line_count) == (1, 0)
        assert ended.awaited_until is not None
        before = list(client.results(batch.id))
        assert {line.attempts for line in before} == {1}, "they were sent, and may be paid for"
        assert all("may have been run" in line.error.message for line in before if line.error)
        shown = suite.cli("get", batch.id).stdout
        assert "60 unanswered lines may have been run and billed" in shown
        with pytest.raises(PolybatchError, match="may still answer lines of the batch"):
            client.files.delete(batch.input_file_id)

        let_it_run_there(suite)
        late = wait_for_late(client, batch, COUNT)
        counts = late.request_counts
        assert (counts.succeeded, counts.unsuccessful) == (COUNT, 0)
        assert (late.state, late.awaited_line_count) == (ended.state, 0)
        assert late.results_revision > 1
        assert late.usage.input_tokens > 0
        lines = list(check_answers(client.results(batch.id), range(COUNT)))
        assert all(line.ok for line in lines)
        assert client.manifest(batch.id).late_line_count == COUNT
        again = list(client.watch(batch.id, last_revision=ended.revision, timeout=10))
        assert [snapshot.late_line_count for snapshot in again] == [COUNT]
        client.files.delete(batch.input_file_id)
    assert "60 lines were answered after the batch had ended" in suite.cli("get", batch.id).stdout
    bill = suite.sandbox("/sandbox/bill")
    assert (bill["lines_billed"], bill["answers_never_fetched"]) == (COUNT, 0)


def test_what_was_never_run_is_said_to_be_so(suite: Suite, tmp_path: Path) -> None:
    """The providers come back after the grace and had run half of it, then stopped."""
    with suite.client() as client:
        suite.reset_sandbox(batch_seconds=NEVER)
        batch = submit_to_run(suite, client, tmp_path / "lines.jsonl")
        client.cancel_batch(batch.id)
        ended = client.wait(batch.id, timeout=60)
        assert ended.awaited_line_count == COUNT
        suite.sandbox("/sandbox/config", {"faults": []})
        wait_for(lambda: not client.get_batch(batch.id).awaited_line_count, "the rest to be known")
        late = client.get_batch(batch.id)
        lines = list(check_answers(client.results(batch.id), range(COUNT)))
    billed = suite.sandbox("/sandbox/bill")["lines_billed"]
    found = Counter(map(outcome, lines))
    assert found["ok"] == late.request_counts.succeeded == late.late_line_count == billed
    assert found["batch_cancelled"] == COUNT - billed == late.request_counts.cancelled
    assert suite.sandbox("/sandbox/bill")["answers_never_fetched"] == 0


def test_a_batch_that_its_provider_does_not_find_is_asked_for_again(
    suite: Suite, tmp_path: Path
) -> None:
    """For longer than the settle time, which is a second here; it runs all the while."""
    lost = [{"kind": "not_found", "calls": ["poll"]}]
    suite.reset_sandbox(batch_seconds=0.5, faults=lost)
    with suite.client() as client:
        batch = client.submit(
            write(tmp_path / "lines.jsonl", (ask(n, PROVIDERS) for n in range(COUNT)))
        )
        for snapshot in client.watch(batch.id, timeout=60):
            if sum("does not find" in shard.waiting_reason for shard in snapshot.shards) == 2:
                break
        suite.sandbox("/sandbox/config", {"faults": []})
        ended = client.wait(batch.id, timeout=60)
        assert (ended.state, ended.request_counts.succeeded) == (BatchState.COMPLETED, COUNT)


def test_results_that_are_saved_are_of_one_revision(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=NEVER)
    with suite.client() as client:
        batch = submit_to_run(suite, client, tmp_path / "lines.jsonl")
        client.cancel_batch(batch.id)
        client.wait(batch.id, timeout=60)
        first = client.download_results(batch.id, tmp_path / "first.jsonl")
        begun = iter(client.results(batch.id))
        next(begun)
        let_it_run_there(suite)
        wait_for_late(client, batch, COUNT)
        second = client.download_results(batch.id, tmp_path / "second.jsonl")
        assert second.results_revision > first.results_revision
        with (tmp_path / "second.jsonl").open() as file:
            assert all(json.loads(line)["response"] for line in file)

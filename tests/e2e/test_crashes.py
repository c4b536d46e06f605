"""Processes that die in the middle of the job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from polybatch import Batch, BatchState

from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.suite import Suite, wait_for

# Each kills a process of its suite.
pytestmark = pytest.mark.long


def test_a_watcher_outlives_the_collector(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=3600)
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "watched.jsonl", (chat(n) for n in range(100))))
        snapshots: list[Batch] = []
        killed = False
        for snapshot in client.watch(batch.id, timeout=100):
            snapshots.append(snapshot)
            if not killed and snapshot.request_counts.submitted:
                suite.kill("collector")
                suite.sandbox("/sandbox/config", {"batch_seconds": 0})
                killed = True
        assert killed
        assert snapshots[-1].state == BatchState.COMPLETED
        revisions = [snapshot.revision for snapshot in snapshots]
        assert revisions == sorted(set(revisions)), "no snapshot comes twice or goes back"
        assert all(line.ok for line in check_answers(client.results(batch.id), range(100)))


def test_an_upload_outlives_the_gateway(suite: Suite, tmp_path: Path) -> None:
    count = 20_000
    path = write(tmp_path / "upload.jsonl", (chat(n, "x" * 700) for n in range(count)))
    half_way = threading.Event()

    def pieces() -> Iterator[bytes]:
        sent = 0
        with path.open("rb") as file:
            while piece := file.read(1 << 18):
                yield piece
                sent += len(piece)
                if sent > 12 << 20 and not half_way.is_set():
                    half_way.set()
                    suite.kill("gateway")

    with suite.client() as client:
        file = client.upload(pieces(), filename="upload.jsonl")
        assert half_way.is_set()
        assert (file.line_count, file.invalid_line_count) == (count, 0)
        assert file.bytes == path.stat().st_size
        assert b"".join(client.files.chunks(file.id)) == path.read_bytes()


@pytest.mark.timeout(240)
def test_a_killed_process_costs_nothing(suite: Suite, tmp_path: Path) -> None:
    """Each dies while batches are planned, sent, polled and fetched."""
    count = 1000
    suite.reset_sandbox(batch_seconds=1)
    path = write(tmp_path / "killed.jsonl", (chat(n) for n in range(count)))
    victims = ("dispatcher", "collector", "gateway", "nats")
    with suite.client() as client:
        batches = []
        for victim in victims:
            batches.append(client.submit(path).id)
            suite.kill(victim)
        for batch_id in batches:
            assert client.wait(batch_id, timeout=200).state == BatchState.COMPLETED
            answered = check_answers(client.results(batch_id), range(count))
            assert sum(line.ok for line in answered) == count
    bill = suite.sandbox("/sandbox/bill")
    assert bill["lines_billed"] == len(victims) * count


def test_graceful_stop_hands_work_back(suite: Suite, tmp_path: Path) -> None:
    """A service told to stop goes at once and leaves no work behind."""
    import os
    import signal

    suite.reset_sandbox(batch_seconds=2)
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "stop.jsonl", (chat(n) for n in range(100))))
        for name in ("dispatcher", "collector"):
            before = suite.ready["pids"][name]
            os.kill(before, signal.SIGTERM)
            wait_for(lambda n=name, b=before: suite.ready["pids"].get(n) != b, f"a new {name}")
        assert client.wait(batch.id, timeout=60).state == BatchState.COMPLETED
        assert all(line.ok for line in check_answers(client.results(batch.id), range(100)))

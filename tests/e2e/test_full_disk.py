"""The disk is full: uploads are refused, running batches wait and say so, and go on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from polybatch import BatchState, Client, LimitExceeded

from tests.support.e2e.inputs import chat, write
from tests.support.e2e.suite import Suite, running_suite, wait_for
from tests.support.stores.small_disk import MIB, filled, small_disk

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(os.environ.get("POLYBATCH_TEST_FLEET")),
        reason="these have servers of their own to stop",
    ),
]

RESERVE = 32 * MIB
LINES = 300


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("full") / "data", 160 * MIB) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def spools(disk: Path) -> Iterator[Path]:
    """The spools have a disk of their own."""
    with small_disk(disk / "spool", 48 * MIB) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def own_suite(disk: Path, spools: Path) -> Iterator[Suite]:
    with running_suite(disk.parent, POLYBATCH_DISK_RESERVE=str(RESERVE)) as suite:
        yield suite


@pytest.fixture
def suite(own_suite: Suite) -> Iterator[Suite]:
    # Nothing comes home before the disk is full.
    own_suite.reset_sandbox(batch_seconds=3600)
    before = own_suite.ready["pids"]
    yield own_suite
    assert own_suite.ready["pids"] == before, "no service has died of it"


def reasons(client: Client, batch_id: str) -> set[str]:
    return {shard.waiting_reason for shard in client.get_batch(batch_id).shards}


def assert_refused(suite: Suite, path: Path) -> None:
    with suite.client(patient=False) as other:
        with pytest.raises(LimitExceeded) as caught:
            other.upload(path)
        assert caught.value.reason == "STORAGE_FULL"
        assert "no room left on its disk" in str(caught.value)
        assert caught.value.retry_after


@pytest.mark.timeout(180)
@pytest.mark.parametrize("left", [RESERVE // 2, 0])
def test_batches_wait_for_room(suite: Suite, disk: Path, tmp_path: Path, left: int) -> None:
    path = write(tmp_path / "requests.jsonl", (chat(n) for n in range(LINES)))
    with suite.client() as client:
        file = client.upload(path)
        batch = client.submit(path)
        wait_for(
            lambda: suite.sandbox("/sandbox/bill")["batches_created"] == 2, "the batch to be sent"
        )
        waited = suite.logged("collector", "work_waits")
        with filled(disk, left):
            assert_refused(suite, path)
            suite.sandbox("/sandbox/config", {"batch_seconds": 1})
            if left:
                # There is room for what the ledger writes: everybody is told.
                made = client.create_batch(file.id, request_id=f"left-{left}")
                wait_for(
                    lambda: "disk is full" in client.get_batch(made.id).waiting_reason,
                    "the reason why it is not planned",
                )
                wait_for(
                    lambda: any("disk is full" in reason for reason in reasons(client, batch.id)),
                    "the reason to be shown",
                )
                assert client.get_batch(batch.id).state == BatchState.IN_PROGRESS
            else:
                wait_for(
                    lambda: suite.logged("collector", "work_waits") > waited + 2,
                    "the collector to wait",
                )
                # Also NATS may find no room for it now.
                with suppress(LimitExceeded), suite.client(patient=False) as other:
                    other.create_batch(file.id, request_id=f"left-{left}")
        made = client.create_batch(file.id, request_id=f"left-{left}")
        suite.check_complete(client, LINES, batch.id, made.id)
        assert client.get_batch(made.id).waiting_reason == ""


@pytest.mark.timeout(180)
def test_the_spools_disk_is_full_and_that_of_the_uploads_is_not(
    suite: Suite, spools: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "requests.jsonl", (chat(n) for n in range(LINES)))
    with suite.client() as client:
        with filled(spools, RESERVE // 2):
            batch = client.submit(path)
            wait_for(
                lambda: (
                    reasons(client, batch.id)
                    == {"the service's disk is full; it goes on when there is room"}
                ),
                "the reason to be shown",
            )
            assert suite.sandbox("/sandbox/bill")["batches_created"] == 0
        suite.sandbox("/sandbox/config", {"batch_seconds": 0})
        suite.check_complete(client, LINES, batch.id)

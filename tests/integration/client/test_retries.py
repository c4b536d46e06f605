"""Retries: what is asked for, and that a lost answer makes no second one."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.integration.client.conftest import Api
from tests.support.client.batches import snapshot
from tests.support.client.command import Command
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault

BATCH = "batch_1"


@pytest.fixture(autouse=True)
def parent(fake: FakePolybatch) -> None:
    fake.batches[BATCH] = [snapshot(BATCH, 9, "COMPLETED", total=4, succeeded=2, failed=2)]


async def test_a_lost_answer_makes_no_second_retry(api: Api, fake: FakePolybatch) -> None:
    fake.faults["RetryBatch"].append(Fault(after_work=True))
    child = await api.call(
        "retry_batch",
        BATCH,
        codes=["batch_expired"],
        cause_ids=["1f0c9a77e2d4"],
        completion_window=timedelta(hours=2),
        max_cost="1.50",
    )
    assert (child.parent_batch_id, child.request_counts.total) == (BATCH, 2)
    first, second = [request for name, request in fake.calls if name == "RetryBatch"]
    assert first == second
    assert first.request_id
    assert (list(first.codes), list(first.cause_ids)) == (["batch_expired"], ["1f0c9a77e2d4"])
    assert (first.completion_window.seconds, first.max_cost.units) == (7200, 1)
    with pytest.raises(ValueError, match="request_id is empty"):
        await api.call("retry_batch", BATCH, request_id="")


def test_the_command_runs_what_failed_once_more(command: Command, fake: FakePolybatch) -> None:
    done = command.run("retry", BATCH, "--code", "batch_expired", "--watch")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{BATCH}_child"
    assert f"2 lines of {BATCH} are run once more" in done.stderr
    assert f"results {BATCH} --merged" in done.stderr
    [request] = [request for name, request in fake.calls if name == "RetryBatch"]
    assert list(request.codes) == ["batch_expired"]
    shown = command.run("retry", BATCH, "--json", "--request-id", request.request_id)
    assert json.loads(shown.stdout)["parent_batch_id"] == BATCH

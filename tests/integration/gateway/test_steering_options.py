"""Options of a batch that steer what is sent of it: taken, shown, refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from polybatch.v1 import batches_pb2 as pb

from core.ledger import CanaryState, Priority
from tests.support.gateway.running import Gateway, lines, refused


async def test_what_is_asked_for_is_kept_and_shown(gateway: Gateway) -> None:
    file = (await gateway.upload(lines(3))).file
    asked: dict[str, Any] = {
        "priority": pb.BATCH_PRIORITY_HIGH,
        "canary_lines": 2,
        "canary_max_failure_rate": 0.0,
        "max_failure_rate": 0.25,
    }
    batch = await gateway.create(file.id, request_id="once", **asked)
    assert batch.priority == pb.BATCH_PRIORITY_HIGH
    assert batch.canary == pb.Canary(lines_per_model=2, state=pb.CANARY_STATE_RUNNING)
    assert batch.max_failure_rate == 0.25
    row = await gateway.ledger.batches.get(batch.id)
    assert row is not None
    assert (row.priority, row.canary_state) == (Priority.HIGH, CanaryState.RUNNING)
    assert (await gateway.create(file.id, request_id="once", **asked)).id == batch.id
    for change in (
        {"priority": pb.BATCH_PRIORITY_LOW},
        {"canary_lines": 3},
        {"canary_max_failure_rate": 0.5},
        {"max_failure_rate": 1.0},
    ):
        failure = await refused(gateway.create(file.id, request_id="once", **(asked | change)))
        assert failure.reason == "REQUEST_ID_REUSED"
        assert next(iter(change)) in failure.message


async def test_what_is_left_out_has_its_default(gateway: Gateway) -> None:
    file = (await gateway.upload(lines(3))).file
    plain = await gateway.create(file.id)
    assert plain.priority == pb.BATCH_PRIORITY_NORMAL
    assert not plain.HasField("canary")
    assert not plain.HasField("max_failure_rate")
    assert (await gateway.create(file.id, canary_lines=1)).canary.max_failure_rate == 0.1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"canary_lines": -1}, "from 0"),
        ({"canary_lines": 10_001}, "10,000"),
        ({"canary_max_failure_rate": 0.1}, "none without canary_lines"),
        ({"canary_lines": 1, "canary_max_failure_rate": 1.1}, "from 0 to 1"),
        ({"max_failure_rate": float("nan")}, "from 0 to 1"),
        ({"max_failure_rate": -0.1}, "from 0 to 1"),
        ({"priority": 9}, "BatchPriority"),
    ],
)
async def test_what_cannot_be_asked_for(
    gateway: Gateway, asked: dict[str, Any], expected: str
) -> None:
    failure = await refused(gateway.create("file_x", **asked))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    [(field, description)] = failure.violations
    assert field in asked
    assert expected in description

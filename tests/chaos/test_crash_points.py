"""Every named write is died at, before and after it, and nothing is lost or paid twice.

A name in core/failpoints/points.py that no batch here comes to fails this test: give it a
kind of job in jobs.py that does. `make chaos` runs hundreds of random schedules besides.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from core.failpoints import Failpoint, Kill, Moment
from tests.chaos import jobs
from tests.chaos.cluster import Cluster
from tests.chaos.echo import Echo
from tests.chaos.keys import administer
from tests.chaos.schedule import Schedule, anyone, run

pytestmark = pytest.mark.long

ROUNDS = 6
ELSEWHERE = {Failpoint.SHARD_RESULTS_DELETE}
"""Takes two collectors, of which one stands still."""
CREATES = "(batches|batchGenerateContent)$"
FAULTS = (
    {"kind": "reset_after", "method": "POST", "path": CREATES, "count": 1},
    {"kind": "slow", "method": "POST", "path": CREATES, "delay": 0.7, "count": 1},
    {"kind": "status", "status": 429, "retry_after": 0.2, "path": CREATES, "count": 1},
    {"kind": "status", "status": 500, "provider": "gemini", "path": "/batches/", "seconds": 4},
    {"kind": "slow", "path": "(content|results|download)", "delay": 0.7, "count": 2},
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Armed before it starts: what only a first start writes is died at as well."""
    made = Cluster(tmp_path_factory.mktemp("chaos") / "cluster")
    made.arm(KILLS)
    made.start()
    yield made
    made.stop()
    assert not made.faults


# One side of each here, the other one in `make chaos`: half the time.
KILLS = [
    kill
    for point, moment in zip(Failpoint, cycle(Moment), strict=False)
    for kill in anyone("all", [point], [moment])
    if point not in ELSEWHERE
]


def left(cluster: Cluster) -> list[Kill]:
    return [kill for kill in KILLS if not cluster.fired(kill)]


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_paid_twice_wherever_a_service_dies(
    cluster: Cluster, tmp_path: Path
) -> None:
    echo = Echo(cluster.nats_url)
    echo.start()
    try:
        for number in range(ROUNDS):
            schedule = Schedule(
                name=f"round{number}",
                kinds=list(jobs.KINDS),
                kills=left(cluster),
                faults=FAULTS,
                echo=1.0,
                restarts=("dispatcher",),
            )
            started = time.monotonic()
            outcome = run(cluster, echo, schedule, tmp_path)
            cluster.arm(left(cluster))
            administer(cluster, f"round{number}")
            print(f"round {number}: {time.monotonic() - started:.0f} s, {names(left(cluster))}")
            assert not outcome.complaints, outcome.complaints
            if not left(cluster):
                break
    finally:
        echo.stop()
    assert not left(cluster), f"nobody came to {names(left(cluster))}"


def names(kills: Sequence[Kill]) -> list[str]:
    return sorted({f"{kill.point} {kill.moment}" for kill in kills})

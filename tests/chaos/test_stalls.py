"""A process that stands still, and goes on when another one has long taken its work.

A machine that sleeps, a container that is paused: nobody can tell it from a dead one, and it
does not know that it was away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.failpoints import Failpoint, Kill, Moment
from tests.chaos.cluster import Cluster, running_cluster, tell, wait_for
from tests.chaos.jobs import Job
from tests.chaos.schedule import QUICK_KNOBS, judge_bills

pytestmark = pytest.mark.long

Sign = Callable[[Cluster], bool]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("stalls") / "cluster"
    with running_cluster(folder, replicas={"dispatcher": 2, "collector": 2}) as running:
        yield running


def says(service: str, event: str) -> Sign:
    """A line of the log of one of the service's replicas."""

    def found(cluster: Cluster) -> bool:
        logs = [each.log for each in cluster.replicas if each.service == service]
        return any(f'"event": "{event}"' in log.read_text() for log in logs)

    return found


def passes(service: str, point: Failpoint) -> Sign:
    """A point that one of the service's replicas has come to."""
    return lambda cluster: f"{point} after" in cluster.reached().get(service, set())


@pytest.mark.parametrize(
    ("service", "point", "moment", "provider", "sign"),
    [
        # Behind its upload, before its create is let go.
        (
            "dispatcher",
            Failpoint.PROVIDER_UPLOAD,
            Moment.AFTER,
            "openai",
            says("dispatcher", "attempt_reverted"),
        ),
        (
            "dispatcher",
            Failpoint.SHARD_INTEND,
            Moment.AFTER,
            "anthropic",
            says("dispatcher", "attempt_reverted"),
        ),
        # Behind its create, whose batch another one finds.
        (
            "dispatcher",
            Failpoint.PROVIDER_CREATE,
            Moment.AFTER,
            "openai",
            says("dispatcher", "shard_reconciled"),
        ),
        # About to note that lines are called, in a log that will be gone by then.
        (
            "dispatcher",
            Failpoint.RUN_LOG,
            Moment.BEFORE,
            "paid",
            says("dispatcher", "run_lease_lost"),
        ),
        # The results are written twice, and one of them is thrown away.
        (
            "collector",
            Failpoint.SHARD_RESULTS,
            Moment.BEFORE,
            "openai",
            passes("collector", Failpoint.SHARD_RESULTS_DELETE),
        ),
        (
            "collector",
            Failpoint.BATCH_MANIFEST,
            Moment.BEFORE,
            "gemini",
            passes("collector", Failpoint.BATCH_RESULTS_DELETE),
        ),
    ],
)
def test_who_stood_still_does_nothing_twice(
    cluster: Cluster,
    tmp_path: Path,
    service: str,
    point: Failpoint,
    moment: Moment,
    provider: str,
    sign: Sign,
) -> None:
    tell(cluster.quick, "/sandbox/reset", {})
    tell(cluster.quick, "/sandbox/config", {**QUICK_KNOBS, "batch_seconds": 0, "faults": []})
    # The first segment of a run's log only says who holds it.
    nth = 2 if point == Failpoint.RUN_LOG else 1
    stall = Kill(f"stall-{provider}-{point}", service, point, moment, nth, stall=True)
    cluster.arm([stall])
    job = Job(f"{provider}-{point}-{moment}".replace(".", "-"))
    for _ in range(4):
        job.ask(provider)
    with cluster.client() as client:
        batch = client.submit(job.write(tmp_path), request_id=job.name)
        try:
            wait_for(lambda: cluster.fired(stall), "a process that stands still")
            # Asked of a gateway: half of the collectors may not answer.
            wait_for(lambda: client.get_batch(batch.id).ended, "the batch to end without it")
        finally:
            cluster.wake(stall)
        wait_for(lambda: sign(cluster), "what it does when it goes on")
        job.batch = client.get_batch(batch.id)
        job.answers = list(client.results(batch.id))
    assert not list(job.complaints())
    # Whoever took over uploads once more.
    assert not judge_bills(cluster, [job], 1)

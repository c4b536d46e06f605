"""`make chaos`: hundreds of random schedules of deaths and faults, each judged by its bill."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.failpoints import Failpoint, Moment
from tests.chaos.cluster import Cluster, leave_on_sigterm, running_cluster
from tests.chaos.echo import Echo
from tests.chaos.schedule import Schedule, draw, run
from tests.support.stores.nats_cluster import running_cluster as running_nodes
from tests.support.stores.object_storage import running_object_storage
from tests.support.stores.postgres import running_postgres

REPLICAS = {"gateway": 2, "dispatcher": 3, "collector": 3}
PER_CLUSTER = 50
"""Schedules after which everything is started afresh, on an empty ledger."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the schedules; returns the exit code."""
    asked = _parser().parse_args(arguments)
    leave_on_sigterm()
    numbers = [asked.only] if asked.only is not None else list(range(asked.first, asked.schedules))
    again = f"make chaos SEED={asked.seed}{' REPLICAS=1' if asked.replicas else ''}"
    passed: set[str] = set()
    deaths = 0
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="polybatch-chaos-"))
    with stands(past_one_machine=asked.replicas) as options:
        for first in range(0, len(numbers), PER_CLUSTER):
            where = folder / f"cluster-{first}"
            with running_cluster(where, **options()) as cluster, echoing(cluster) as echo:
                for number in numbers[first : first + PER_CLUSTER]:
                    schedule = draw(asked.seed, number)
                    fired = _one(cluster, echo, schedule, where, f"{number + 1}/{numbers[-1] + 1}")
                    if fired is None:
                        print(
                            f"\nlogs: {cluster.logs}\nonce more: {again} ONLY={number}; "
                            f"then the rest: {again} FIRST={number}"
                        )
                        return 1
                    deaths += fired
                passed.update(*cluster.reached().values())
            shutil.rmtree(where)
    every = {f"{point} {moment}" for point in Failpoint for moment in Moment}
    print(
        f"{len(numbers)} schedules, {deaths} deaths, {len(passed)} of {len(every)} points passed, "
        f"{time.monotonic() - began:.0f} s: no line lost, none paid twice"
    )
    return 0


@contextmanager
def stands(*, past_one_machine: bool) -> Iterator[Callable[[], dict[str, Any]]]:
    """What makes the options of each cluster: none, or replicas on servers of their own."""
    if not past_one_machine:
        yield dict
        return
    with running_postgres() as postgres, running_nodes() as nodes, running_object_storage() as s3:

        def options() -> dict[str, Any]:
            settings = {
                **s3.environment,
                "POLYBATCH_DATABASE_URL": postgres.create_database(),
                "POLYBATCH_BLOBS_URL": s3.create_bucket(),
            }
            return {"replicas": REPLICAS, "settings": settings, "nodes": nodes}

        yield options


@contextmanager
def echoing(cluster: Cluster) -> Iterator[Echo]:
    """Something that sends work items twice."""
    echo = Echo(cluster.nats_url)
    echo.start()
    try:
        yield echo
    finally:
        echo.stop()


def _one(cluster: Cluster, echo: Echo, schedule: Schedule, folder: Path, place: str) -> int | None:
    """Run one schedule; returns the number of its deaths, None if something went wrong."""
    began = time.monotonic()
    outcome = run(cluster, echo, schedule, folder)
    print(
        f"{place} {schedule.name}: {', '.join(schedule.kinds)}; {outcome.fired} deaths, "
        f"{len(schedule.faults)} faults, {time.monotonic() - began:.1f} s",
        flush=True,
    )
    if not outcome.complaints:
        return outcome.fired
    for complaint in outcome.complaints:
        print(f"  {complaint}")
    for kill in schedule.kills:
        if cluster.fired(kill):
            print(f"  died: {kill.service} {kill.moment} {kill.point}, time {kill.nth}")
    for fault in schedule.faults:
        print(f"  fault: {fault}")
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make chaos",
        description="Kill the services at named points in random schedules, and see that every "
        "batch ends with each line once in its results and once on the bill.",
    )
    parser.add_argument("--schedules", type=int, default=200, help="how many (SCHEDULES=200)")
    parser.add_argument("--first", type=int, default=0, help="leave out those before it (FIRST=17)")
    parser.add_argument("--seed", type=int, default=1, help="what they are drawn from (SEED=1)")
    parser.add_argument(
        "--replicas",
        action="store_true",
        help="two gateways, three dispatchers and three collectors, on PostgreSQL, three NATS "
        "nodes and an S3-compatible server (REPLICAS=1)",
    )
    parser.add_argument("--only", type=int, help="run only the one of this number (ONLY=17)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

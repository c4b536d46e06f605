"""`make chaos`: hundreds of random schedules of deaths and faults, each judged by its bill."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from core.failpoints import Failpoint, Moment
from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.echo import Echo
from tests.chaos.schedule import Schedule, draw, run

PER_CLUSTER = 50
"""Schedules after which everything is started afresh, on an empty ledger."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the schedules; returns the exit code."""
    asked = _parser().parse_args(arguments)
    numbers = [asked.only] if asked.only is not None else list(range(asked.schedules))
    passed: set[str] = set()
    deaths = 0
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="polybatch-chaos-"))
    for first in range(0, len(numbers), PER_CLUSTER):
        where = folder / f"cluster-{first}"
        some = numbers[first : first + PER_CLUSTER]
        with running_cluster(where) as cluster:
            echo = Echo(cluster.nats_url)
            echo.start()
            try:
                for number in some:
                    schedule = draw(asked.seed, number)
                    fired = _one(cluster, echo, schedule, where, f"{number + 1}/{len(numbers)}")
                    if fired is None:
                        print(f"\nlogs: {cluster.logs}")
                        print(f"once more: make chaos SEED={asked.seed} ONLY={number}")
                        return 1
                    deaths += fired
            finally:
                echo.stop()
            passed.update(*cluster.reached().values())
        shutil.rmtree(where)
    every = {f"{point} {moment}" for point in Failpoint for moment in Moment}
    print(
        f"{len(numbers)} schedules, {deaths} deaths, {len(passed)} of {len(every)} points passed, "
        f"{time.monotonic() - began:.0f} s: no line lost, none paid twice"
    )
    return 0


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
    parser.add_argument("--seed", type=int, default=1, help="what they are drawn from (SEED=1)")
    parser.add_argument("--only", type=int, help="run only the one of this number (ONLY=17)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

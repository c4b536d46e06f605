"""Schedules: which batches run, who dies where meanwhile, and how the providers misbehave."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from polybatch import BatchState

from core.failpoints import Failpoint, Kill, Moment
from tests.chaos import jobs
from tests.chaos.books import judge_books
from tests.chaos.cluster import Cluster, tell, wait_for
from tests.chaos.echo import Echo
from tests.support.sandbox.waste import EARLY_OF_A_DEATH, needed_uploads, waste

SERVICES = ("gateway", "dispatcher", "collector")
_CALL_SECONDS = 3.0
Fault = Mapping[str, Any]

# So many batches an hour have no user but these.
_UNBOUNDED = {"creates_per_hour": 0}
QUICK_KNOBS = {
    **_UNBOUNDED,
    "batch_seconds": 0.2,
    "call_seconds": 0.05,
    "unknown_result_lines": 1,
}
SLOW_KNOBS = {
    **_UNBOUNDED,
    "batch_seconds": 8,
    "call_seconds": 0.8,
    "enqueued_token_limit": 1000,
    "cancel_seconds": 0.2,
}
SLOW_FAULTS: Sequence[Fault] = (
    {"kind": "fail_batch", "code": jobs.CULPRIT, "line": 1, "count": 2},
    # Longer than a batch that is being stopped is waited for.
    {"kind": "slow", "path": "/content$", "delay": 3.7, "count": 2},
)
CREATES = "(batches|batchGenerateContent)$"

FAULTS: Sequence[Fault] = (
    {"kind": "reset_after", "method": "POST", "path": CREATES, "count": 2},
    {"kind": "reset_before", "method": "POST", "path": CREATES, "count": 1},
    {"kind": "cut", "method": "POST", "path": CREATES, "after_bytes": 10, "count": 1},
    {"kind": "garbage", "method": "POST", "path": CREATES, "count": 1},
    {"kind": "slow", "method": "POST", "path": CREATES, "delay": 0.7, "count": 2},
    {"kind": "status", "status": 429, "retry_after": 0.2, "path": CREATES, "count": 2},
    {"kind": "status", "status": 503, "method": "POST", "path": CREATES, "count": 1},
    {"kind": "reset_after", "method": "POST", "path": "/files$", "count": 1},
    {"kind": "status", "status": 500, "provider": "gemini", "path": "/batches/", "seconds": 4},
    {"kind": "reset_before", "method": "GET", "path": "/batches$", "count": 1},
    {"kind": "cut", "path": "(content|results|download)", "after_bytes": 300, "count": 2},
    {"kind": "slow", "path": "(content|results|download)", "delay": 0.7, "count": 2},
    {"kind": "garbage", "path": "(content|results|download)", "count": 1},
    {"kind": "reset_after", "method": "POST", "path": "cancel$", "count": 1},
    {"kind": "reset_after", "method": "POST", "path": "chat/completions$", "count": 2},
    {"kind": "status", "status": 503, "method": "POST", "path": "chat/completions$", "count": 3},
    {"kind": "line", "outcome": "overloaded", "probability": 0.02},
    {"kind": "fail_batch", "code": "token_limit_exceeded", "provider": "openai", "count": 1},
    {"kind": "fail_batch", "code": "resource_exhausted", "provider": "gemini", "count": 1},
    {"kind": "status", "status": 429, "retry_after": 0.4, "every": 2, "seconds": 3},
    # Away for longer than a batch that is being stopped is waited for, with the cancel or
    # just after it.
    {
        "kind": "reset_before",
        "calls": ["poll", "list", "cancel", "download", "create"],
        "since": "cancel",
        "seconds": 4,
    },
    {
        "kind": "status",
        "status": 503,
        "calls": ["poll", "list", "download"],
        "since": "cancel",
        "seconds": 4,
    },
    # Not for creates: what a key may not send is refused for good.
    {
        "kind": "withdrawn",
        "calls": ["poll", "cancel", "download", "delete"],
        "since": "create",
        "seconds": 1.5,
    },
    {"kind": "not_found", "calls": ["poll", "cancel"], "since": "create", "seconds": 1.5},
)


@dataclass(frozen=True)
class Schedule:
    """One seeded run. Equal seeds give equal schedules, if not equal timings."""

    name: str
    kinds: Sequence[str]
    kills: Sequence[Kill]
    faults: Sequence[Fault] = ()
    list_lag: float = 0.0
    echo: float = 0.0
    restarts: Sequence[str] = ()
    """Services that are told to stop, and come back, while calls are under way."""
    nats_restarts: int = 0


@dataclass
class Outcome:
    """What came of a schedule."""

    complaints: list[str] = field(default_factory=list)
    fired: int = 0


def draw(seed: int, number: int) -> Schedule:
    """The schedule of a number under a seed."""
    rng = random.Random(f"{seed}.{number}")
    name = f"s{seed}n{number}"
    kills = [
        Kill(
            id=f"{name}-{at}",
            service=rng.choice(SERVICES),
            point=rng.choice(list(Failpoint)),
            moment=rng.choice(list(Moment)),
            nth=rng.choice((1, 1, 1, 2, 3, 5)),
        )
        for at in range(24)
    ]
    return Schedule(
        name=name,
        kinds=rng.sample(list(jobs.KINDS), 4),
        kills=kills,
        faults=[dict(fault) for fault in rng.sample(FAULTS, rng.randint(0, 4))],
        list_lag=rng.choice((0.0, 0.0, 0.5)),
        echo=rng.choice((0.0, 0.0, 0.3, 1.0)),
        restarts=rng.choice(((), (), ("dispatcher",), SERVICES)),
        nats_restarts=rng.random() < 0.15,
    )


def anyone(name: str, points: Iterable[Failpoint], moments: Iterable[Moment]) -> list[Kill]:
    """Kills that strike whichever service comes to a point first, each point and moment once."""
    moments = list(moments)
    return [
        Kill(f"{name}-{point}-{moment}", service, point, moment)
        for point in points
        for moment in moments
        for service in (*SERVICES, "keys")
    ]


def run(cluster: Cluster, echo: Echo, schedule: Schedule, folder: Path) -> Outcome:
    """Run a schedule to its end and judge it."""
    for sandbox, options, faults in (
        (cluster.quick, QUICK_KNOBS, schedule.faults),
        (cluster.slow, SLOW_KNOBS, [*SLOW_FAULTS, *schedule.faults]),
    ):
        tell(sandbox, "/sandbox/reset", {})
        lag = {"list_lag_seconds": schedule.list_lag}
        tell(sandbox, "/sandbox/config", {**options, **lag, "faults": list(faults)})
    cluster.arm(schedule.kills)
    echo.share = schedule.echo
    made = [jobs.KINDS[kind](f"{schedule.name}-{kind}") for kind in schedule.kinds]
    outcome = Outcome()
    with cluster.client() as client, ThreadPoolExecutor(len(made) + 1) as pool:
        running = [pool.submit(job.run, client, folder) for job in made]
        running.append(pool.submit(jobs.uploads, client, f"{schedule.name}-uploads"))
        if schedule.restarts:
            _restart(cluster, schedule.restarts)
        for _ in range(schedule.nats_restarts):
            cluster.restart_nats()
        for future in running:
            error = future.exception()
            if error is not None:
                outcome.complaints.append(f"{type(error).__name__}: {error}")
    cluster.arm([])
    outcome.fired = sum(cluster.fired(kill) for kill in schedule.kills)
    outcome.complaints += chain.from_iterable(job.complaints() for job in made)
    outcome.complaints += cluster.faults
    if not outcome.complaints:
        restarts = sum(each.service in schedule.restarts for each in cluster.replicas)
        deaths = outcome.fired + restarts + schedule.nats_restarts
        untold = sum(
            cluster.fired(kill) for kill in schedule.kills if kill.point == Failpoint.PROVIDER_HOLD
        )
        outcome.complaints += judge_bills(cluster, made, deaths, EARLY_OF_A_DEATH * untold)
        outcome.complaints += judge_books(cluster, made)
    return outcome


def _restart(cluster: Cluster, services: Sequence[str]) -> None:
    """Stop services in order while single calls are under way, if any ever are."""

    def calling() -> bool:
        return bool(tell(cluster.slow, "/sandbox/bill")["calls"]["begun"])

    with suppress(AssertionError):
        wait_for(calling, "a call", _CALL_SECONDS)
    for replica in cluster.replicas:
        if replica.service in services:
            replica.restart()


def judge_bills(
    cluster: Cluster, made: Sequence[jobs.Job], deaths: int = 0, early: int = 0
) -> list[str]:
    """Whether each line was paid exactly once, or at most once where its batch was stopped.

    And whether anything else was wasted. After each of the deaths an upload may be repeated.
    `early`: as of waste.
    """
    complaints = []
    quick = tell(cluster.quick, "/sandbox/bill")
    slow = tell(cluster.slow, "/sandbox/bill")
    if quick["extra_billings"]:
        complaints.append(f"{quick['extra_billings']} lines were paid twice")
    answered = sum(job.count("ok") for job in made)
    missing = sum(job.count("result_missing") for job in made)
    if not answered <= quick["lines_billed"] <= answered + missing:
        complaints.append(
            f"{quick['lines_billed']} lines were paid, {answered} were answered, "
            f"of {missing} it is not known"
        )
    # What is lost of a server of one's own is run again; its batches never are.
    again = slow["extra_billings"]
    if again > slow["calls"]["begun"] - sum(job.count("ok", ("local",)) for job in made):
        complaints.append(f"{again} lines of the slow provider were paid twice")
    # What a batch has uploaded when its owner stops it is not created any more.
    # It is the same with what comes to be rescued, at each of two providers with uploads.
    stopped = sum(BatchState.COMPLETED not in job.ends for job in made)
    stopped += sum(2 for job in made if "rescue_before" in job.options)
    for usage in (quick, slow):
        complaints += waste(usage, uploads=needed_uploads(usage) + deaths + stopped, early=early)
    return complaints

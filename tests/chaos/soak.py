"""`make soak`: hundreds of batches of all sizes for a given time, with faults all along.

Two thirds of the time everything dies now and then: services at named points and at any
moment, NATS on its store; the providers misbehave throughout. In the last third nobody dies,
so that what each process holds can be watched for long enough: memory and open files have to
stay where they are.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from core.failpoints import Failpoint, Kill, Moment
from tests.chaos import jobs
from tests.chaos.cluster import Cluster, leave_on_sigterm, running_cluster, tell
from tests.chaos.echo import Echo
from tests.chaos.held import Held
from tests.chaos.schedule import FAULTS, QUICK_KNOBS, SERVICES, SLOW_FAULTS, SLOW_KNOBS
from tests.support.sandbox.waste import EARLY_OF_A_DEATH, needed_uploads, waste

AT_A_TIME = 6
LARGEST = 3000
DEADLY_SHARE = 2 / 3
"""Of the time; the rest is calm."""
WARM_UP = 0.25
"""Of the calm: what a fresh process has to load and to cache."""
_BETWEEN_DEATHS = (2.0, 8.0)
_BETWEEN_FAULTS = 10.0
_BETWEEN_SAMPLES = 1.0


def sized(name: str, rng: random.Random) -> jobs.Job:
    """Any providers, any size: as many small batches as large ones."""
    job = jobs.Job(name)
    count = round(LARGEST ** rng.random())
    providers = rng.sample(("openai", "anthropic", "gemini"), rng.randint(1, 3))
    for _ in range(count):
        flaky = rng.random() < 0.02
        job.ask(rng.choice(providers), "[[sandbox:flaky=1]]" if flaky else "")
    for _ in range(rng.choice((0, 0, 3, 30))):
        job.ask("paid")
    return job


@dataclass
class Tally:
    """What has come of the batches so far; their lines are forgotten."""

    batches: int = 0
    lines: int = 0
    answered: int = 0
    missing: int = 0
    complaints: list[str] = field(default_factory=list)

    def add(self, job: jobs.Job, error: BaseException | None) -> None:
        self.batches += 1
        self.lines += len(job.lines)
        if error is not None:
            self.complaints.append(f"{job.name}: {type(error).__name__}: {error}")
        else:
            self.complaints += job.complaints()
        self.answered += job.count("ok")
        self.missing += job.count("result_missing")


class Soak:
    """One run."""

    def __init__(self, cluster: Cluster, seed: int, seconds: float) -> None:
        self._cluster = cluster
        self._rng = random.Random(seed)
        self._began = time.monotonic()
        self._deadly_until = self._began + seconds * DEADLY_SHARE
        self._until = self._began + seconds
        self._over = threading.Event()
        self.held = Held(cluster)
        self.tally = Tally()
        self.deaths = 0
        self.nats_restarts = 0
        self._early = 0
        """Calls before a Retry-After was over, while services died."""

    def run(self, folder: Path) -> None:
        """Run to the end of the time, and until every batch has ended."""
        options = {**QUICK_KNOBS, "batch_seconds": 0.5}
        tell(self._cluster.quick, "/sandbox/config", options)
        tell(self._cluster.slow, "/sandbox/config", SLOW_KNOBS)
        troubles = [
            threading.Thread(target=target, daemon=True) for target in (self._kill, self._misbehave)
        ]
        for thread in troubles:
            thread.start()
        try:
            self._work(folder)
        finally:
            self._over.set()
            for thread in troubles:
                thread.join()

    def _work(self, folder: Path) -> None:
        running: dict[Future[None], jobs.Job] = {}
        said = time.monotonic()
        with self._cluster.client() as client, ThreadPoolExecutor(AT_A_TIME) as pool:
            for job in self._jobs():
                running[pool.submit(job.run, client, folder)] = job
                while len(running) >= AT_A_TIME:
                    self._collect(running, folder, _BETWEEN_SAMPLES)
                if time.monotonic() > said + 10:
                    said = time.monotonic()
                    self._say()
            while running:
                self._collect(running, folder, None)

    def _jobs(self) -> Iterator[jobs.Job]:
        number = 0
        while time.monotonic() < self._until:
            number += 1
            if number % 4:
                yield sized(f"soak{number}", self._rng)
            else:
                kind = self._rng.choice(list(jobs.KINDS))
                yield jobs.KINDS[kind](f"soak{number}-{kind}")

    def _collect(
        self, running: dict[Future[None], jobs.Job], folder: Path, timeout: float | None
    ) -> None:
        done, _ = wait(running, timeout, FIRST_COMPLETED)
        for future in done:
            job = running.pop(future)
            self.tally.add(job, future.exception())
            (folder / f"{job.name}.jsonl").unlink(missing_ok=True)
        if time.monotonic() > self._deadly_until + (self._until - self._deadly_until) * WARM_UP:
            self.held.sample()

    def _kill(self) -> None:
        rng = random.Random(self._rng.random())
        number = 0
        kills: list[Kill] = []
        while not self._over.wait(rng.uniform(*_BETWEEN_DEATHS)):
            if time.monotonic() > self._deadly_until:
                break
            number += 1
            match rng.random():
                case share if share < 0.1:
                    self._cluster.restart_nats()
                    self.nats_restarts += 1
                case share if share < 0.4:
                    rng.choice(self._cluster.replicas).kill()
                    self.deaths += 1
                case _:
                    kills.append(self._any_point(f"soak{number}", rng))
                    self._cluster.arm(kills)
        self._cluster.arm([])
        self.deaths += sum(self._cluster.fired(kill) for kill in kills)
        self._early = tell(self._cluster.quick, "/sandbox/bill")["calls_before_retry_after"]

    def _any_point(self, name: str, rng: random.Random) -> Kill:
        """A death at a point that a service is known to come to."""
        passed = self._cluster.reached()
        service = rng.choice(SERVICES)
        point, moment = rng.choice(sorted(passed[service])).split()
        return Kill(name, service, Failpoint(point), Moment(moment), rng.randint(1, 3))

    def _misbehave(self) -> None:
        rng = random.Random(self._rng.random())
        while not self._over.wait(_BETWEEN_FAULTS):
            faults = rng.sample(FAULTS, rng.randint(0, 4))
            tell(self._cluster.quick, "/sandbox/config", {"faults": faults})
            tell(self._cluster.slow, "/sandbox/config", {"faults": [*SLOW_FAULTS, *faults]})

    def _say(self) -> None:
        left = max(0.0, self._until - time.monotonic())
        phase = "deadly" if time.monotonic() < self._deadly_until else "calm"
        print(
            f"{left:5.0f} s left, {phase}: {self.tally.batches} batches, {self.tally.lines} lines, "
            f"{len(self.tally.complaints)} complaints",
            flush=True,
        )

    def judge(self) -> list[str]:
        """All that is wrong in the end."""
        bill = tell(self._cluster.quick, "/sandbox/bill")
        found = list(self.tally.complaints)
        if bill["extra_billings"]:
            found.append(f"{bill['extra_billings']} lines were paid twice")
        low, high = self.tally.answered, self.tally.answered + self.tally.missing
        if not low <= bill["lines_billed"] <= high:
            found.append(f"{bill['lines_billed']} lines were paid, {low} to {high} expected")
        again = self.deaths + self.nats_restarts + len(self.tally.complaints)
        # Later, when nobody dies any more, none may be.
        early = min(self._early, EARLY_OF_A_DEATH * self.deaths)
        found += waste(bill, uploads=needed_uploads(bill) + again, early=early)
        return [*found, *self._cluster.faults, *self.held.judge()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak for a while; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (MINUTES=10)")
    parser.add_argument("--seed", type=int, default=1, help="of the sizes and faults (SEED=1)")
    asked = parser.parse_args(arguments)
    leave_on_sigterm()
    folder = Path(tempfile.mkdtemp(prefix="polybatch-soak-"))
    with running_cluster(folder / "cluster") as cluster:
        echo = Echo(cluster.nats_url)
        echo.start()
        echo.share = 0.05
        soak = Soak(cluster, asked.seed, asked.minutes * 60)
        try:
            soak.run(folder)
        finally:
            echo.stop()
        complaints = soak.judge()
    print(
        f"{soak.tally.batches} batches, {soak.tally.lines} lines, {soak.deaths} deaths, "
        f"{soak.nats_restarts} restarts of NATS"
    )
    print(soak.held.table())
    if complaints:
        print("\n".join(complaints))
        print(f"logs: {cluster.logs}")
        return 1
    print("nothing was lost, paid twice or stuck; memory and open files are flat")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

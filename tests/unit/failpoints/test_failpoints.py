"""A process dies where the plan says, once, and only if it is armed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from core.bus import Step
from core.failpoints import VARIABLE, Failpoint, Kill, Moment, Plan

PROGRAM = """
import sys
from core.failpoints import Failpoint, arm, writing
arm("gateway")
for number in range(3):
    with writing(Failpoint.BATCH_CREATE):
        print(number, flush=True)
"""


def run(folder: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({VARIABLE: str(folder)} if folder else {})}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60
    )


def plan(folder: Path, moment: Moment, nth: int, service: str = "gateway") -> None:
    kill = Kill("k", service, Failpoint.BATCH_CREATE, moment, nth)
    (folder / "plan.json").write_bytes(msgspec.json.encode(Plan([kill])))


@pytest.mark.parametrize(
    ("moment", "nth", "written"), [("before", 1, 0), ("after", 1, 1), ("before", 3, 2)]
)
def test_it_dies_at_the_point_and_not_again(
    tmp_path: Path, moment: str, nth: int, written: int
) -> None:
    plan(tmp_path, Moment(moment), nth)
    died = run(tmp_path)
    assert died.returncode == -signal.SIGKILL
    assert len(died.stdout.split()) == written
    again = run(tmp_path)
    assert (again.returncode, len(again.stdout.split())) == (0, 3)


def test_nobody_else_dies(tmp_path: Path) -> None:
    plan(tmp_path, Moment.BEFORE, 1, service="collector")
    assert run(tmp_path).returncode == 0
    assert run(None).returncode == 0, "not armed"


def test_it_says_which_points_it_passed(tmp_path: Path) -> None:
    assert run(tmp_path).returncode == 0
    (told,) = (tmp_path / "reached").iterdir()
    assert told.read_text().splitlines() == [
        "ledger.batch.create before",
        "ledger.batch.create after",
    ]


@pytest.mark.parametrize("step", Step)
def test_each_step_of_the_bus_has_its_points(step: Step) -> None:
    assert Failpoint(f"bus.enqueue.{step}")
    assert Failpoint(f"bus.done.{step}")

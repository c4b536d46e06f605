"""`make interleavings`: thousands of orders of the steps of one batch, each from its seed."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.interleavings.running import Runner
from tests.interleavings.shrinking import shrunk

_TOLD = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one seed after another until one fails; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make interleavings")
    parser.add_argument("--runs", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the first run")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    steps = 0
    with (
        tempfile.TemporaryDirectory(prefix="polybatch-interleavings-") as folder,
        Runner(Path(folder)) as runner,
    ):
        for number, seed in enumerate(range(asked.seed, asked.seed + asked.runs), start=1):
            run = runner.run(seed)
            steps += len(run.labels)
            if run.failures:
                print(f"{run}\n\nas short as it could be made:\n{shrunk(runner, run)}")
                print(f"\nrun {number}; once more: make interleavings SEED={seed} RUNS=1")
                return 1
            if not number % _TOLD:
                print(f"{number} runs, {number / (time.monotonic() - began):.1f} a second")
    seconds = time.monotonic() - began
    print(f"{asked.runs} runs of {steps // asked.runs} steps, {seconds:.0f} s: nothing is broken")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`make fuzz`: the property tests with other examples each time, the HTTP API against its own
description, then coverage-guided fuzzing.

Prints the seed of each round: `make fuzz SEED=n` tries the same examples again.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import http_api

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("scanner", "results")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="for all of it")
    parser.add_argument("--seed", type=int, help="of a round to repeat: only that is run")
    parser.add_argument("--factor", type=int, default=10, help="times the examples of `make test`")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return round_of(arguments.seed, arguments.factor) or http_round(
            arguments.seconds, arguments.seed
        )
    guided = importlib.util.find_spec("atheris") is not None
    end = time.monotonic() + arguments.seconds * (0.4 if guided else 0.8)
    while True:
        code = round_of(secrets.randbelow(2**32), arguments.factor)
        if code or time.monotonic() > end:
            break
    code = code or http_round(arguments.seconds * 0.2, secrets.randbelow(2**32))
    if code:
        return code
    if not guided:
        print("atheris is not installed: no coverage-guided fuzzing (make fuzz installs it)")
        return 0
    return max(guide(name, int(arguments.seconds * 0.2) or 1) for name in TARGETS)


def round_of(seed: int, factor: int) -> int:
    """One run of the property tests; returns pytest's exit code."""
    print(f"seed {seed}, {factor} times the examples", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/fuzz", "tests/unit/batchfile"]
    command += [f"--hypothesis-seed={seed}", "--timeout=1800", "-k", "any or reference or depth"]
    environment = {**os.environ, "POLYBATCH_FUZZ_FACTOR": str(factor)}
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code:
        print(f"repeat it with: make fuzz SEED={seed} FACTOR={factor}")
    return code


def http_round(seconds: float, seed: int) -> int:
    """One run over the HTTP API; returns its exit code."""
    if not http_api.installed():
        print("schemathesis is not installed: the HTTP API is left out (make fuzz installs it)")
        return 0
    # It goes through all operations once, however short the time is.
    print(f"HTTP API: seed {seed}", flush=True)
    return http_api.main(max(60, round(seconds)), seed)


def guide(name: str, seconds: int) -> int:
    """One target for so long; returns libFuzzer's exit code."""
    folder = Path(tempfile.mkdtemp(prefix=f"polybatch-fuzz-{name}-"))
    print(f"coverage-guided: {name} for {seconds} s; a finding is kept in {folder}", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.coverage_guided", name]
    command += [f"-max_total_time={seconds}", "-timeout=30", "-verbosity=0", "-print_final_stats=1"]
    command += [f"-artifact_prefix={folder}/"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

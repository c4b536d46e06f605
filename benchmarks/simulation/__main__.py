"""`python -m benchmarks.simulation`: simulate a day, and print what it was like."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.simulation.calls import simulate_calls
from benchmarks.simulation.day import simulate
from benchmarks.simulation.report import calls_report, report


def main() -> int:
    """Returns the exit code: 1 where a call was made while a provider wanted none."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation",
        description="Simulates a day with limits and outages of the providers, in virtual time.",
    )
    parser.add_argument("--accounts", type=int, default=10_000, metavar="N", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(%(default)s)")
    arguments = parser.parse_args()
    begun = time.process_time()
    day = simulate(arguments.accounts, arguments.seed)
    calls = simulate_calls(arguments.seed)
    print(f"{report(day)}\n\n{calls_report(calls)}")
    print(f"{time.process_time() - begun:.0f} s of processor time", file=sys.stderr)
    return 1 if calls.early or any(server.early for server in day.servers.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

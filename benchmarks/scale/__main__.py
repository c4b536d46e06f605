"""`python -m benchmarks.scale`: measure past one machine, beside the embedded mode."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import FrameType

import uvloop

from benchmarks.command import each, parsed
from benchmarks.machine import facts
from benchmarks.scale import calibration, in_flight, million, throughput, watching
from benchmarks.scale.compared import Compared, table
from benchmarks.scale.options import Options
from benchmarks.scale.setups import Stands, running_stands
from tests.support.stores.process import ServerMissing

BENCHMARKS: Mapping[str, Callable[[Stands, Options], Awaitable[list[Compared]]]] = {
    "throughput": throughput.measure,
    "million": million.measure,
    "in-flight": in_flight.measure,
    "watchers": watching.measure,
    "model": calibration.measure,
}


def main() -> int:
    """Run the chosen benchmarks; returns the exit code: 1 when a line was lost or paid twice,
    or a figure could not be measured."""
    arguments = parsed(
        "python -m benchmarks.scale",
        "Measures replicas on PostgreSQL, three NATS nodes and object storage beside the "
        "embedded mode. Exit code 1 when a line was lost or paid twice.",
        BENCHMARKS,
        [
            ("--million", 1_000_000, "lines of the one large batch"),
            ("--lines", 5_000, "of each of throughput's eight batches"),
            ("--calls", 720, "lines that throughput runs one by one"),
            ("--batches", 1_000, "in flight at the same time"),
            ("--watchers", 10_000, "over two collectors"),
            ("--minutes", 25, "after which it gives up"),
        ],
    )
    # So that the servers end as they do after Ctrl-C.
    signal.signal(signal.SIGTERM, _leave)
    print(facts(arguments.folder))
    print("Setups are gateways+dispatchers+collectors, all on this one machine.", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="polybatch-scale-") as folder:
        try:
            return _measure(arguments, Path(folder))
        except ServerMissing as missing:
            print(missing, file=sys.stderr)
            return 1


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _measure(arguments: argparse.Namespace, folder: Path) -> int:
    options = Options(
        folder=folder,
        million=arguments.million,
        lines=arguments.lines,
        calls=arguments.calls,
        batches=arguments.batches,
        watchers=arguments.watchers,
    )
    deadline = time.monotonic() + 60 * arguments.minutes
    with running_stands(folder) as stands:

        def measure(name: str) -> list[Compared]:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_within(deadline, BENCHMARKS[name](stands, options)))

        figures, failed = each(arguments.names, measure)
    if figures:
        print(f"\n{table(figures)}")
    for name in failed:
        print(f"{name}: FAILED, see above")
    if not failed:
        print("\nNo line was lost, and none was paid twice.")
    return 1 if failed else 0


async def _within(deadline: float, measuring: Awaitable[list[Compared]]) -> list[Compared]:
    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
        return await measuring


if __name__ == "__main__":
    sys.exit(main())

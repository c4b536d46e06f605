"""`python -m benchmarks.scale`: measure past one machine, beside the embedded mode."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import FrameType

import uvloop

from benchmarks.machine import disk_folder, facts
from benchmarks.scale import in_flight, million, throughput, watching
from benchmarks.scale.compared import Compared, table
from benchmarks.scale.options import Options
from benchmarks.scale.setups import Stands, running_stands
from tests.stores.process import ServerMissing

BENCHMARKS: Mapping[str, Callable[[Stands, Options], Awaitable[list[Compared]]]] = {
    "throughput": throughput.measure,
    "million": million.measure,
    "in-flight": in_flight.measure,
    "watchers": watching.measure,
}


def main() -> int:
    """Run the chosen benchmarks; returns the exit code: 1 when a line was lost or paid twice,
    or a figure could not be measured."""
    arguments = _arguments()
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
    figures: list[Compared] = []
    failed: list[str] = []
    deadline = time.monotonic() + 60 * arguments.minutes
    with running_stands(folder) as stands:
        for name in arguments.names or BENCHMARKS:
            begun = time.monotonic()
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    figures += runner.run(_within(deadline, BENCHMARKS[name](stands, options)))
            except Exception:  # noqa: BLE001  (one that fails must not cost the others)
                failed.append(name)
                traceback.print_exc()
            print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{table(figures)}")
    for name in failed:
        print(f"{name}: FAILED, see above")
    if not failed:
        print("\nNo line was lost, and none was paid twice.")
    return 1 if failed else 0


async def _within(deadline: float, measuring: Awaitable[list[Compared]]) -> list[Compared]:
    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
        return await measuring


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="Measures replicas on PostgreSQL, three NATS nodes and object storage beside "
        "the embedded mode. Exit code 1 when a line was lost or paid twice.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[*BENCHMARKS, []],
        help=f"which to run: {', '.join(BENCHMARKS)} (all)",
    )
    for option, default, meaning in (
        ("--million", 1_000_000, "lines of the one large batch"),
        ("--lines", 5_000, "of each of throughput's eight batches"),
        ("--calls", 720, "lines that throughput runs one by one"),
        ("--batches", 1_000, "in flight at the same time"),
        ("--watchers", 5_000, "over two collectors"),
        ("--minutes", 15, "after which it gives up"),
    ):
        parser.add_argument(
            option, type=int, default=default, metavar="N", help=f"{meaning} ({default})"
        )
    parser.add_argument(
        "--folder",
        type=Path,
        default=disk_folder(),
        metavar="PATH",
        help="where data is written meanwhile; has to be on a disk (%(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

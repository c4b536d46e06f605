"""`python -m benchmarks`: measure, and print each figure beside its limit."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import uvloop

from benchmarks import memory, turnaround, upload, watchers
from benchmarks.figures import Figure, table
from benchmarks.machine import disk_folder, facts
from benchmarks.options import Options

BENCHMARKS: Mapping[str, Callable[[Options], Awaitable[list[Figure]]]] = {
    "upload": upload.measure,
    "turnaround": turnaround.measure,
    "memory": memory.measure,
    "watchers": watchers.measure,
}


def main() -> int:
    """Run the chosen benchmarks; returns the exit code: 1 when one could not be measured."""
    arguments = _arguments()
    print(facts(arguments.folder), flush=True)
    figures: list[Figure] = []
    failed: list[str] = []
    for name in arguments.names or BENCHMARKS:
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        begun = time.monotonic()
        try:
            figures += _run(name, arguments)
        except Exception:  # noqa: BLE001  (one that fails must not cost the others)
            failed.append(name)
            traceback.print_exc()
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{table(figures)}")
    for name in failed:
        print(f"{name}: not measured, see above")
    return 1 if failed else 0


def _run(name: str, arguments: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="polybatch-bench-") as folder:
        options = Options(
            folder=Path(folder),
            lines=arguments.lines,
            rounds=arguments.rounds,
            small=arguments.small,
            large=arguments.large,
            watchers=arguments.watchers,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measured(name, options))


async def _measured(name: str, options: Options) -> list[Figure]:
    return await BENCHMARKS[name](options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the services and prints each figure beside its limit. "
        "Exit code 0 when all was measured, whatever the outcome.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[*BENCHMARKS, []],
        help=f"which to run: {', '.join(BENCHMARKS)} (all)",
    )
    for option, default, meaning in (
        ("--lines", 50_000, "of the files of upload and turnaround"),
        ("--rounds", 5, "of upload and turnaround; medians are taken"),
        ("--small", 5_000, "lines of memory's small job"),
        ("--large", 500_000, "lines of memory's large job"),
        ("--watchers", 1_000, "how many"),
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

"""`python -m benchmarks`: measure, and print each figure beside its limit."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import uvloop

from benchmarks import (
    checking,
    eta,
    hostile,
    in_flight,
    memory,
    pages,
    polling,
    pricing,
    start,
    turnaround,
    upload,
    watchers,
    web,
)
from benchmarks.command import each, parsed
from benchmarks.figures import Figure, table
from benchmarks.machine import facts
from benchmarks.options import Options

BENCHMARKS: Mapping[str, Callable[[Options], Awaitable[list[Figure]]]] = {
    "checking": checking.measure,
    "upload": upload.measure,
    "turnaround": turnaround.measure,
    "memory": memory.measure,
    "watchers": watchers.measure,
    "hostile": hostile.measure,
    "polling": polling.measure,
    "in-flight": in_flight.measure,
    "pricing": pricing.measure,
    "start": start.measure,
    "web": web.measure,
    "pages": pages.measure,
    "eta": eta.measure,
}


def main() -> int:
    """Run the chosen benchmarks; returns the exit code: 1 when one could not be measured."""
    arguments = parsed(
        "python -m benchmarks",
        "Measures the services and prints each figure beside its limit. "
        "Exit code 0 when all was measured, whatever the outcome.",
        BENCHMARKS,
        [
            ("--lines", 50_000, "of the files of upload and turnaround"),
            ("--rounds", 5, "of checking, upload and turnaround; medians are taken"),
            ("--small", 5_000, "lines of memory's small job"),
            ("--large", 500_000, "lines of memory's large job"),
            ("--watchers", 1_000, "how many"),
            ("--pages", 500, "of the dashboard, open at a time"),
            ("--messages", 1_000_000, "of one byte that hostile uploads"),
            ("--flying", 1_000, "batches in flight of polling and in-flight"),
            ("--idle", 10_000, "watches of hostile on which nothing happens"),
        ],
    )
    print(facts(arguments.folder), flush=True)
    figures, failed = each(arguments.names, partial(_run, arguments))
    print(f"\n{table(figures)}")
    for name in failed:
        print(f"{name}: not measured, see above")
    return 1 if failed else 0


def _run(arguments: argparse.Namespace, name: str) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="polybatch-bench-") as folder:
        options = Options(
            folder=Path(folder),
            lines=arguments.lines,
            rounds=arguments.rounds,
            small=arguments.small,
            large=arguments.large,
            watchers=arguments.watchers,
            pages=arguments.pages,
            messages=arguments.messages,
            idle=arguments.idle,
            flying=arguments.flying,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measured(name, options))


async def _measured(name: str, options: Options) -> list[Figure]:
    return await BENCHMARKS[name](options)


if __name__ == "__main__":
    sys.exit(main())

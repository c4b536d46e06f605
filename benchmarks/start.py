"""Start: how long until all is ready, what it takes while idle, and how long a command takes."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.options import Options
from benchmarks.suite import Suite, running_suite

READY_SECONDS = 3.5
IDLE_MB = 180.0
COMMAND_SECONDS = 0.2
ROUNDS = 5
_OWN = ("supervisor", "gateway", "dispatcher", "collector")
_COMMANDS = ("--help", "list")


async def measure(options: Options) -> list[Figure]:
    """The first start makes the data folder, and reads the programs from the disk."""
    first, _, _ = await _start(options.folder / "start")
    starts = [await _start(options.folder / "start") for _ in range(ROUNDS - 1)]
    commands = [found for _, _, found in starts]
    return [
        Figure("first start, until all is ready", first, "s", basis="none; with a sandbox"),
        Figure(
            "start, until all is ready",
            statistics.median(seconds for seconds, _, _ in starts),
            "s",
            limit=READY_SECONDS,
            basis=f"warm disk, median of {len(starts)}; with a sandbox",
        ),
        Figure(
            "memory of the idle suite",
            statistics.median(memory for _, memory, _ in starts) / 1e6,
            "MB",
            limit=IDLE_MB,
            basis="what all services and the supervisor take together (PSS)",
        ),
        *(
            Figure(
                f"polybatch {command}",
                statistics.median(found[command] for found in commands),
                "s",
                limit=COMMAND_SECONDS,
                basis="from the start of the process to its end",
            )
            for command in _COMMANDS
        ),
    ]


async def _start(folder: Path) -> tuple[float, float, dict[str, float]]:
    """Seconds until ready, bytes while idle, and the seconds of each command."""
    begun = time.perf_counter()
    async with running_suite(folder) as suite:
        seconds = time.perf_counter() - begun
        commands = {command: await _run(suite, command) for command in _COMMANDS}
        return seconds, sum(map(_shared_out, _processes(suite))), commands


def _processes(suite: Suite) -> set[int]:
    """The services, the supervisor, and what forks the services, which is their parent."""
    own = {suite.pids[name] for name in _OWN}
    parents = {int(_stat(pid)[1]) for pid in own - {suite.pids["supervisor"]}}
    return own | parents


def _stat(pid: int) -> list[str]:
    """From the state on: proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _shared_out(pid: int) -> int:
    """Bytes that a process has resident, of pages shared by several its share (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) * 1024
    raise MeasurementFailed(f"/proc/{pid}/smaps_rollup has no Pss")


async def _run(suite: Suite, command: str) -> float:
    environment = os.environ | {
        "POLYBATCH_GATEWAY": suite.gateway,
        "POLYBATCH_COLLECTOR": suite.collector,
        "POLYBATCH_API_KEY": suite.api_key,
    }
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "polybatch", command),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    if code := await process.wait():
        raise MeasurementFailed(f"polybatch {command} ended with exit code {code}")
    return time.perf_counter() - begun

"""Programs of the benchmarks that run as processes of their own."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.figures import MeasurementFailed

_LONGEST_LINE = 256 * 1024 * 1024


@asynccontextmanager
async def program(module: str, *arguments: str) -> AsyncIterator[Process]:
    """Run `python -m module` with pipes for stdin and stdout; it is gone after the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def answer_line(process: Process, seconds: float) -> str:
    """The next line that a program prints. Raises MeasurementFailed."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise MeasurementFailed(f"a process said nothing for {seconds:g} s") from error
    if not line:
        raise MeasurementFailed(f"a process ended with exit code {await process.wait()}")
    return line.decode().strip()


async def tell_line(process: Process, text: str) -> None:
    """Write a line to a program's stdin."""
    assert process.stdin is not None
    process.stdin.write(text.encode() + b"\n")
    await process.stdin.drain()

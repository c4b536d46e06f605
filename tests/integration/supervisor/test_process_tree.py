"""The supervisor as a process: Ctrl-C, SIGKILL, terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from services.supervisor.spec import ChildSpec
from tests.integration.supervisor.conftest import Reports, process_end

PROGRAM = """
import asyncio, sys
from core.serving import run
from services.supervisor.output import Output
from services.supervisor.spec import ChildSpec
from services.supervisor.supervisor import Supervisor
from tests.integration.supervisor.conftest import tiny_command

async def probe():
    pass

specs = [
    ChildSpec(name=kind, command=tiny_command(int(sys.argv[1]), kind, kind), probe=probe,
              stop_grace=600)
    for kind in sys.argv[2:]
]
supervisor = Supervisor([specs], output=Output(None, named=True), on_ready=lambda pids: None)
sys.exit(run(supervisor.run, service="supervisor", loop_factory=asyncio.new_event_loop))
"""


@contextlib.asynccontextmanager
async def supervising(
    reports: Reports, *kinds: str, stderr: int = subprocess.DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        str(reports.port),
        *kinds,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        for kind in kinds:
            await reports.wait(f"{kind} started")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_ctrl_c_stops_everything_in_order_and_exits_0(reports: Reports) -> None:
    async with supervising(reports, "one", "two") as process:
        # As a terminal does it: to the whole foreground process group.
        os.killpg(process.pid, signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    await reports.wait("one gone")
    assert reports.said[2:] == ["two stopping", "two gone", "one stopping", "one gone"]


# One of the first that it imports, and one of the last.
@pytest.mark.parametrize("module", ["structlog.dev", "sqlalchemy.exc"])
async def test_ctrl_c_while_it_is_imported_ends_it_without_a_traceback(module: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "services.supervisor"),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        # Each module is told of when it is there.
        while module.encode() not in await process.stderr.readline():
            pass
        os.killpg(process.pid, signal.SIGINT)
        told = await process.stderr.read()
        assert await process.wait() == -signal.SIGINT
    assert b"Traceback" not in told


@pytest.mark.long
async def test_sigterm_stops_it_like_ctrl_c(reports: Reports) -> None:
    async with supervising(reports, "one") as process:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    await reports.wait("one gone")
    assert "one stopping" in reports.said


@pytest.mark.long
async def test_a_second_ctrl_c_is_immediate(reports: Reports) -> None:
    async with supervising(reports, "stubborn") as process:
        os.killpg(process.pid, signal.SIGINT)
        await reports.wait("stubborn stopping")
        os.killpg(process.pid, signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 5) == -signal.SIGINT
        await process_end(reports.pids["stubborn"], limit=5)


async def test_children_do_not_outlive_a_supervisor_that_is_killed(reports: Reports) -> None:
    async with supervising(reports, "one", "stubborn") as process:
        process.kill()
        await process.wait()
        for pid in reports.pids.values():
            await process_end(pid, limit=5)


async def test_a_child_whose_parent_is_gone_already_does_not_start(reports: Reports) -> None:
    spec: ChildSpec = reports.spec("orphan")
    launch = os.path.join(os.path.dirname(sys.modules[ChildSpec.__module__].__file__ or ""))
    process = await asyncio.create_subprocess_exec(
        sys.executable, f"{launch}/launch.py", "1", *spec.command
    )
    assert await asyncio.wait_for(process.wait(), 20) == 1
    assert reports.said == []


@pytest.mark.long
async def test_on_a_terminal_lines_bear_the_name_of_their_child(reports: Reports) -> None:
    terminal, child_end = os.openpty()
    try:
        async with supervising(reports, "one", "two", stderr=child_end) as process:
            process.terminate()
            await process.wait()
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
        os.close(child_end)
    assert "one        | one says hello" in shown
    assert "two        | two says hello" in shown

"""Services by fork: each a process as if it had been started by itself, however often."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.supervisor.conftest import process_end

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks the services")

PROGRAM = """
import asyncio, json, os, signal, subprocess, sys
import structlog
from services.supervisor.fork_server import Call, fork_server
from services.supervisor.forked import ForkServer, ForkServerGone

MODULE = "tests.support.supervisor.forked_program"
held, let_go = os.pipe()
if sys.argv[1] == "early":
    import services.supervisor.fork_server as forks
    program, die_with = os.getpid(), forks.die_with

    def tied_when_let_go(parent):
        if parent != program:
            os.read(held, 1)
        die_with(parent)

    forks.die_with = tied_when_let_go
forked = fork_server(["grpc_health.v1._async"])
if isinstance(forked, Call):
    sys.exit(forked.run())
if forked is None:
    sys.exit()
from tests.support.supervisor.forked_program import healthy

def tell(**said):
    print(json.dumps(said), flush=True)

async def start(server, mark, *arguments):
    process = await server.start(MODULE, arguments, {"MARK": mark}, subprocess.PIPE)
    line = await process.stdout.readline()
    assert line.startswith(b"{"), line + await process.stdout.read()
    return process, json.loads(line)

async def often(server):
    for number in range(1, 31):
        process, said = await start(server, str(number), str(number))
        # This process has gRPC's threads all along, as the supervisor with its probes.
        tell(**said, code=await process.wait(), known=process.pid, here=await healthy())

async def signals(server):
    os.kill(forked.pid, signal.SIGTERM)
    for end in ("terminate", "kill"):
        process, said = await start(server, end, "stay")
        getattr(process, end)()
        tell(code=await process.wait())

async def early(server):
    first = await server.start(MODULE, ["stay"], {"MARK": ""}, subprocess.PIPE)
    first.terminate()
    # Once this one is started, the first has been signalled.
    second = await server.start(MODULE, ["0"], {"MARK": ""}, subprocess.PIPE)
    os.write(let_go, b"..")
    tell(said=(await first.stdout.readline()).decode())
    first.kill()
    tell(code=await first.wait(), other=await second.wait())

async def hold(server):
    _, said = await start(server, "held", "stay")
    tell(server=forked.pid, **said)
    await asyncio.Event().wait()

async def gone(server):
    process, said = await start(server, "gone", "stay")
    os.kill(forked.pid, signal.SIGKILL)
    code = await process.wait()
    try:
        await start(server, "late", "0")
    except ForkServerGone:
        tell(**said, code=code)

async def main():
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    server = ForkServer(forked)
    await globals()[sys.argv[1]](server)
    server.close()
    tell(closed=not os.path.exists(f"/proc/{forked.pid}"))

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def forking(scene: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, scene),
        stdout=subprocess.PIPE,
        # It would log on what its own server closes, among what the program says.
        env=os.environ | {"GRPC_VERBOSITY": "NONE"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(scene: str) -> list[dict[str, Any]]:
    """What a scene says, line by line, without the last: that the fork server is gone."""
    async with forking(scene) as process:
        output, _ = await process.communicate()
    assert process.returncode == 0
    *said, last = map(json.loads, output.splitlines())
    assert last == {"closed": True}
    return said


@pytest.mark.long
async def test_each_is_a_process_of_its_own_however_often() -> None:
    said = await told("often")
    assert len({each["pid"] for each in said}) == len(said) == 30
    for number, each in enumerate(said, 1):
        assert each["pid"] == each["known"] == each["session"]
        assert each["mark"] == str(number)
        assert each["arguments"] == [str(number)]
        assert each["code"] == number
        assert each["threads"] == 1
        assert each["healthy"]
        assert each["here"]


async def test_a_signal_ends_a_service_but_not_the_fork_server() -> None:
    assert [each["code"] for each in await told("signals")] == [-signal.SIGTERM, -signal.SIGKILL]


async def test_a_signal_that_comes_before_a_service_has_begun_ends_it() -> None:
    assert await told("early") == [{"said": ""}, {"code": -signal.SIGTERM, "other": 0}]


async def test_nothing_outlives_a_supervisor_that_is_killed() -> None:
    async with forking("hold") as process:
        assert process.stdout is not None
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        process.kill()
        await process.wait()
        for pid in (said["pid"], said["server"]):
            await process_end(pid, limit=5)


async def test_where_the_fork_server_dies_all_that_it_forked_is_known_to_be_dead() -> None:
    [said] = await told("gone")
    assert said["code"] == -signal.SIGKILL
    await process_end(said["pid"], limit=5)


def test_what_services_share_has_nothing_that_none_of_them_needs() -> None:
    """Each megabyte of it is one of every service, as pages are copied where anything is used."""
    needless = {
        "rich": "the command's: structlog takes it where it can",
        "asyncpg": "only with a ledger in PostgreSQL",
        "sqlalchemy.dialects.postgresql": "the same",
        "alembic": "only when the ledger is not of the newest schema",
        "genai_prices.data": "only who looks for a price",
        "starlette": "the sandbox's alone",
        "google.protobuf.descriptor_pb2": "only who is asked for reflection",
        "difflib": "only who meets a field that an endpoint does not have",
    }
    program = (
        "import sys; from importlib import import_module; import services.supervisor.__main__; "
        "from services.supervisor.fork_server import SHARED; [*map(import_module, SHARED)]; "
        "print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert not needless.keys() & set(ran.stdout.split())

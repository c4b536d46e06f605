"""`python -m services.supervisor` with the real services."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.supervisor import probes
from tests.integration.supervisor.conftest import process_end

pytestmark = [pytest.mark.e2e]


class Suite:
    """A supervisor in a folder of its own."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self._ready_file = folder / "ready.json"

    async def printed(self, words: str) -> None:
        assert self.process.stdout is not None
        await _read_until(self.process.stdout, lambda line: words in line)

    async def logged(self, event: str, child: str) -> None:
        def matches(line: str) -> bool:
            entry = json.loads(line)
            return bool(entry["event"] == event and entry.get("child") == child)

        assert self.process.stderr is not None
        await _read_until(self.process.stderr, matches)

    def facts(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._ready_file.read_text())
        return content

    @property
    def has_ready_file(self) -> bool:
        return self._ready_file.exists()


async def _read_until(stream: asyncio.StreamReader, matches: Any) -> None:
    async with asyncio.timeout(90):
        async for line in stream:
            if matches(line.decode()):
                return
    raise AssertionError("the supervisor ended first")


@contextlib.asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Suite]:
    clean = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.supervisor",
        "--sandbox",
        "--ports=auto",
        f"--ready-file={folder / 'ready.json'}",
        f"--log-dir={folder / 'logs'}",
        env={**clean, "POLYBATCH_DATA_DIR": str(folder / "data")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Suite(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.long
async def test_from_nothing_to_healthy_over_a_crash_to_the_end(tmp_path: Path) -> None:
    async with started(tmp_path) as suite:
        await suite.printed("polybatch is up")
        facts = suite.facts()
        names = {"supervisor", "nats", "sandbox", "gateway", "dispatcher", "collector", "web"}
        assert set(facts["pids"]) == names
        assert os.stat(facts["api_key_file"]).st_mode & 0o077 == 0
        for name in ("gateway", "dispatcher", "collector"):
            await asyncio.wait_for(probes.grpc_serving(facts[name])(), 10)

        for name in ("collector", "nats"):
            before = suite.facts()["pids"][name]
            os.kill(before, signal.SIGKILL)
            await suite.logged("child_ended", name)
            await suite.logged("child_ready", name)
            assert suite.facts()["pids"][name] != before
        await asyncio.wait_for(probes.grpc_serving(facts["collector"])(), 10)

        async with started(tmp_path) as second:
            _, stderr = await asyncio.wait_for(second.process.communicate(), 30)
            assert second.process.returncode == 1
            assert b"in use by another supervisor" in stderr
        assert suite.has_ready_file

        pids = suite.facts()["pids"]
        suite.process.send_signal(signal.SIGINT)
        await asyncio.wait_for(suite.process.communicate(), 60)
        assert suite.process.returncode == 0
        assert not suite.has_ready_file
        for pid in pids.values():
            await process_end(pid, limit=1)

"""The real services, each a process of its own, started for one measurement."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from polybatch import AsyncClient

from benchmarks.figures import MeasurementFailed

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_UP = b"polybatch is up"
# What a developer's shell may set must not change what is measured.
_FOREIGN = ("POLYBATCH_", "OPENAI_", "ANTHROPIC_")


@dataclass(frozen=True, slots=True)
class Suite:
    """Addresses and processes of the running services."""

    gateway: str
    """The address of each replica, separated by commas; so is the next one."""
    collector: str
    nats: str
    sandbox: str
    """http:// URL; empty: it is not this suite's own."""
    web: str
    """http:// URL of the HTTP API."""
    data_dir: Path
    api_key: str
    pids: Mapping[str, int]

    def client(self) -> AsyncClient:
        """A client with the suite's first key; to be closed."""
        return AsyncClient(gateway=self.gateway, collector=self.collector, api_key=self.api_key)


@asynccontextmanager
async def running_suite(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[Suite]:
    """Run everything below a folder of its own.

    On a sandbox that answers at once, unless the settings name one. `arguments`: further
    ones of the supervisor. Raises MeasurementFailed when it does not come up.
    """
    own_sandbox = () if "OPENAI_BASE_URL" in settings else ("--sandbox",)
    ready = folder / "ready.json"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)
    }
    environment |= {"POLYBATCH_DATA_DIR": str(folder / "data"), **settings}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.supervisor", "--ports", "auto"),
        *("--ready-file", str(ready), "--log-dir", str(folder / "logs")),
        *own_sandbox,
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(process.stderr.read())
    try:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not (line := await process.stdout.readline()).startswith(_UP):
                    if not line:
                        raise MeasurementFailed(f"no start: {(await complaints).decode()[-2000:]}")
        except TimeoutError as error:
            raise MeasurementFailed("the services did not start in time") from error
        yield _read(ready)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await complaints


def _read(ready: Path) -> Suite:
    content = json.loads(ready.read_text())
    return Suite(
        gateway=content["gateway"],
        collector=content["collector"],
        nats=content["nats"],
        sandbox=content["sandbox"] or "",
        web=content["web"] or "",
        data_dir=Path(content["data_dir"]),
        api_key=Path(content["api_key_file"]).read_text().strip(),
        pids=content["pids"],
    )

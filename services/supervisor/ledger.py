"""The ledger gets its newest schema here, before any service is started.

Those have only so long to become ready, and would be ended in the middle, again at each start: the
first start of a new version takes minutes where the ledger is large. It is done in a process of its
own: what a migration loads and takes is 10 to 20 MB, and can be ended at any time.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import structlog

from core.serving import StartupError
from services.supervisor.forked import ForkServer
from services.supervisor.starting import start_process

log = structlog.get_logger()

_TOLD_AFTER = 3.0
REFUSED = 3
"""Exit code of `services.supervisor.migrate`: the ledger cannot be used, for the reason printed."""
UNAVAILABLE = 4
"""Likewise: the database does not answer."""


async def bring_up_to_date(stop: asyncio.Event, fork_server: ForkServer | None = None) -> None:
    """Migrate the ledger of the settings; returns early where `stop` is set.

    A database that does not answer is left to the services, which wait for it. Raises
    StartupError where the ledger cannot be used.
    """
    try:
        process = await start_process(
            (sys.executable, "-m", "services.supervisor.migrate"), {}, subprocess.PIPE, fork_server
        )
    except OSError as error:
        raise StartupError(f"no process for the ledger's schema: {error}") from error
    assert process.stdout is not None
    ending = asyncio.create_task(process.stdout.read())
    stopping = asyncio.create_task(stop.wait())
    try:
        for patience in (_TOLD_AFTER, None):
            done, _ = await asyncio.wait(
                {ending, stopping}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                break
            log.info("opening_the_ledger", hint="a new version may have to change all its rows")
    finally:
        stopping.cancel()
        if not ending.done() and process.returncode is None:
            process.terminate()
        said = (await ending).decode(errors="replace").strip()
        code = await process.wait()
    if stop.is_set() or code == 0:
        return
    if code == UNAVAILABLE:
        log.warning("ledger_not_ready", cause=said)
        return
    raise StartupError(
        said if code == REFUSED else f"the ledger's schema: exit code {code}: {said}"
    )

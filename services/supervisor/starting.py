"""A process is started: by fork where that can be done, else as a program of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from services.supervisor import launch
from services.supervisor.forked import ForkServer, ForkServerGone, Process
from services.supervisor.output import Target


async def start_process(
    command: tuple[str, ...],
    environment: Mapping[str, str],
    output: Target,
    fork_server: ForkServer | None,
) -> Process:
    """Start a command that does not outlive this process.

    environment: set on top of this process's own. output: for stdout and stderr; with
    subprocess.PIPE the process has a stdout to read. fork_server: what starts Python modules, as
    long as it lives (it cannot be made again beside the threads of this process); None: each by
    itself. Raises OSError where the machine does not give another process.
    """
    if fork_server is not None and command[:2] == (sys.executable, "-m"):
        module, *arguments = command[2:]
        descriptor = output if isinstance(output, int) else output.fileno()
        with suppress(ForkServerGone):
            return await fork_server.start(module, arguments, environment, descriptor)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(Path(launch.__file__)),
        str(os.getpid()),
        *command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        # Ctrl-C is for the supervisor alone, which stops its children in order.
        start_new_session=True,
    )

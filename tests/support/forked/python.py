"""Programs of Python as processes of their own, without the time that their imports take.

What a program imports takes ten times as long as most of what is tested. So one process for
each process of tests imports it once, and forks a new process for each run: see server.py.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("stand_in.py")
IMPORTED = {
    "polybatch": (
        *(f"polybatch.cli.{name}_commands" for name in ("admin", "batch", "file", "key", "result")),
        *(f"polybatch.cli.{name}_command" for name in ("convert", "estimate", "price", "usage")),
        *("polybatch.cli.provider_commands", "polybatch.cli.webhook_commands"),
        *("polybatch.cli.invocation", "polybatch.client", "polybatch._transport.blocking"),
        *("click.shell_completion", "importlib.metadata", "rich.progress"),
    ),
    "services.gateway": ("services.gateway.service", "sqlalchemy.dialects.sqlite.aiosqlite"),
}
"""What programs import, by their modules. None of it starts anything when it is imported."""


def python(*arguments: str, imported: Sequence[str] = ()) -> list[str]:
    """A command line for what `python -m MODULE` or `python -c CODE` with arguments would run.

    The process that it starts stands in for the forked one: signals to it, its end, and the
    descriptors, the folder and the environment that it is given are those of the program;
    what Python itself reads of it (PYTHONPATH, -W) is as it was when the tests started.
    `imported`: what a program imports that is not in IMPORTED.
    """
    if sys.platform != "linux":
        return [sys.executable, *arguments]
    modules = (*IMPORTED.get(arguments[1], ()), *imported)
    return [sys.executable, "-I", "-S", str(STAND_IN), _server(), ",".join(modules), *arguments]


@functools.cache
def _server() -> str:
    """Start the server; returns the path of its socket. It ends with this process."""
    folder = tempfile.mkdtemp(prefix="polybatch-forks-")
    path = f"{folder}/socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked.server", str(listener.fileno())],
            cwd=ROOT,
            # gRPC reads it when it is imported, which the command `polybatch` sets it before.
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    assert server.stdin is not None
    end = server.stdin

    def stop() -> None:
        end.close()
        server.wait(20)
        shutil.rmtree(folder)

    atexit.register(stop)
    return path

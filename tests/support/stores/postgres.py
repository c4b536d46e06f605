"""A real PostgreSQL server on loopback, from Debian's packages.

with running_postgres() as server:
    url = server.create_database()
"""

from __future__ import annotations

import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.stores.process import ServerMissing, ServerProcess, as_user, free_port

USER = "polybatch"
_INITDB = ("-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
_INSTALL = "PostgreSQL is not installed; on Debian or Ubuntu: apt-get install postgresql"


def postgres_bin() -> Path:
    """The folder of the newest PostgreSQL's programs. Raises ServerMissing."""
    versions = [
        path
        for path in Path("/usr/lib/postgresql").glob("*/bin")
        if re.fullmatch(r"\d+", path.parent.name) and (path / "postgres").exists()
    ]
    if versions:
        return max(versions, key=lambda path: int(path.parent.name))
    found = shutil.which("postgres")
    if found is None:
        raise ServerMissing(_INSTALL)
    return Path(found).resolve().parent


class PostgresServer:
    """One server with any number of databases; addresses stay the same over restarts.

    All methods block.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        """Make a new cluster of databases in a folder. settings: "name=value"."""
        self._bin = postgres_bin()
        self.port = free_port()
        self._numbers = itertools.count(1)
        # It refuses to run as root, and then must reach its folder as somebody else.
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        data = folder / "data"
        if self._user is not None:
            os.chown(folder, self._user, -1)
        self._run("initdb", "-D", str(data), "-U", USER, *_INITDB)
        options = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            # A killed process loses nothing without it, only a power cut would.
            "fsync=off",
            "max_connections=200",
            "shared_buffers=32MB",
            "log_min_messages=warning",
            *settings,
        )
        self.process = ServerProcess(
            "PostgreSQL",
            [str(self._bin / "postgres"), "-D", str(data), *(f"--{option}" for option in options)],
            "database system is ready to accept connections",
            folder / "postgres.log",
            self._user,
            {"LC_ALL": "C", "TZ": "UTC"},
            signal.SIGINT,
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self.process.start()

    def stop(self) -> None:
        """Stop it as an operator does: open transactions are rolled back."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a crash does: it recovers from its log at the next start."""
        self.process.stop_signal, orderly = signal.SIGQUIT, self.process.stop_signal
        try:
            # Not SIGKILL, after which its children live on for a while and hold the port.
            self.process.stop()
        finally:
            self.process.stop_signal = orderly

    def create_database(self, template: str = "template1") -> str:
        """Make an empty database, or a copy of one; returns its URL, as users write it."""
        name = f"polybatch_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run a statement with psql as the superuser; returns its rows, a line each."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database)
        plain = ("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
        return self._run("psql", *where, *plain, "-c", statement)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            as_user(self._user, [str(self._bin / program), *arguments]),
            cwd="/",
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")
        return done.stdout.strip()


@contextmanager
def running_postgres(*settings: str) -> Iterator[PostgresServer]:
    """A server in a folder of its own, gone at the end. Raises ServerMissing."""
    with tempfile.TemporaryDirectory(prefix="polybatch-postgres-") as folder:
        server = PostgresServer(Path(folder), *settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _unprivileged_user() -> int:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise ServerMissing("PostgreSQL refuses to run as root and there is no user postgres")

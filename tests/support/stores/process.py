"""A server as a process of its own: started, known to be ready by what it logs, killed."""

from __future__ import annotations

import fcntl
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TextIO

from services.supervisor import launch

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0


_HELD: list[TextIO] = []


class ServerMissing(Exception):
    """A server that tests need is not on this machine. The message says how to get it."""


def free_port() -> int:
    """A free TCP port of the loopback, also free again when its server is restarted.

    From below the range out of which the kernel serves those who ask for any port: no
    connection of another test takes it while the server is down. Nor does another process
    of tests, as this one holds a lock on it until it ends.
    """
    for _ in range(200):
        # hypothesis gives the shared generator the same seed in each process.
        port = random.SystemRandom().randrange(20_000, 32_000)
        held = (Path(tempfile.gettempdir()) / f"polybatch-port-{port}").open("w")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            held.close()
            continue
        _HELD.append(held)
        return port
    raise RuntimeError("no free port between 20000 and 32000")


def answers(url: str) -> bool:
    """Whether an HTTP server answers GET with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def tied(command: Sequence[str]) -> list[str]:
    """A command that does not outlive the process of tests, not even where that is killed.

    The kernel goes by the thread that started it: what another than the main one starts is
    not tied, since it would end with that thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return [*command]
    return [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *command]


def as_user(user: int | None, command: Sequence[str]) -> list[str]:
    """A command that runs as the user with an id; None: as whoever runs the tests.

    Python's own way forks, and then gRPC's handlers run in the child, with errors.
    """
    if user is None:
        return [*command]
    group = pwd.getpwuid(user).pw_gid
    # A tie to the process of tests is lost with the old user.
    tie = ("--pdeathsig=keep",)
    ids = (f"--reuid={user}", f"--regid={group}", "--clear-groups")
    return [shutil.which("setpriv") or "setpriv", *tie, *ids, "--", *command]


@dataclass
class ServerProcess:
    """One server. All methods block."""

    name: str
    command: Sequence[str]
    ready_text: str
    """The server is ready when a line that it logs has this text."""
    log: Path
    user: int | None = None
    """Run as this user's id; None: as whoever runs the tests."""
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    _process: subprocess.Popen[bytes] | None = None
    _reader: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready. Raises RuntimeError if it will not be."""
        self.launch().wait_ready()

    def launch(self, ready_text: str = "") -> Starting:
        """Start it without waiting, for several that need each other.

        ready_text: what says in its log that it is ready, if that is another text here.
        """
        if self._process is not None:
            raise RuntimeError(f"{self.name} runs already")
        self._process = subprocess.Popen(
            tied(as_user(self.user, self.command)),
            env={**os.environ, **self.environment},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the tests, which stop it then.
            start_new_session=True,
        )
        starting = Starting(self, ready_text or self.ready_text)
        self._reader = threading.Thread(target=starting.read, args=(self._process,), daemon=True)
        self._reader.start()
        return starting

    def stop(self) -> None:
        """End it orderly; nothing if it does not run."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """SIGKILL it, as a crash would; nothing if it does not run."""
        self._end(signal.SIGKILL)

    def _end(self, how: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if self._reader is not None:
                self._reader.join(STOP_TIMEOUT)


class Starting:
    """A server between its start and the line that says that it is ready."""

    def __init__(self, server: ServerProcess, ready_text: str) -> None:
        self._server = server
        self._text = ready_text.encode()
        self._told = threading.Event()
        self._ready = False

    def read(self, process: subprocess.Popen[bytes]) -> None:
        """Copy what it says into its log, for as long as it lives."""
        assert process.stdout is not None
        with process.stdout, self._server.log.open("ab") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if self._text in line:
                    self._ready = True
                    self._told.set()
        self._told.set()

    def wait_ready(self) -> None:
        """Raises RuntimeError with its log if it does not become ready."""
        self._told.wait(START_TIMEOUT)
        if not self._ready:
            self._server.kill()
            log = self._server.log.read_text(errors="replace")[-4000:]
            raise RuntimeError(f"{self._server.name} did not start; its log ends with:\n{log}")

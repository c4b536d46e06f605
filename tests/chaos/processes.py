"""Services as processes that die for real and are back within a moment.

Each is forked from a process that has everything imported already (multiprocessing's
forkserver): a service that starts anew costs a tenth of a second of the machine instead of
one or two, which is what lets a test kill hundreds of them.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import services.collector.service
import services.dispatcher.service
import services.gateway.__main__
from core.pipeline import run_service

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 30.0
_LOCK = threading.Lock()


def _gateway() -> int:
    return services.gateway.__main__.main([])


def _dispatcher() -> int:
    return run_service("dispatcher", "", services.dispatcher.service.serve)


def _collector() -> int:
    return run_service("collector", "", services.collector.service.serve)


MAINS: Mapping[str, Callable[[], int]] = {
    "gateway": _gateway,
    "dispatcher": _dispatcher,
    "collector": _collector,
}


def _become(
    main: Callable[..., int], arguments: Any, environment: dict[str, str], log: str
) -> None:
    """What the forked process does."""
    os.setsid()
    if sys.platform == "linux":
        # Its parent is the forkserver, which ends with the process that uses it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [sys.argv[0]]
    sys.exit(main(*arguments))


def run_once(
    main: Callable[..., int], arguments: Any, environment: Mapping[str, str], log: Path
) -> int:
    """Run something to its end in a process of its own; returns its exit code."""
    process = _CONTEXT.Process(target=_become, args=(main, arguments, dict(environment), str(log)))
    return _join(_start(process))


def _start(process: Any) -> Any:
    with _LOCK:
        process.start()
    return process


def _join(process: Any) -> int:
    """Wait for its end; returns the exit code.

    multiprocessing looks after all children whenever one is started, and of two threads
    that look after one at a time only the first hears its exit code.
    """
    wait([process.sentinel])
    with _LOCK:
        code: int = process.exitcode
    return code


class Replica:
    """One service that is started again whenever it was killed."""

    def __init__(self, service: str, name: str, environment: Mapping[str, str], log: Path) -> None:
        """`name`: of this replica; `environment`: all of it."""
        self.service = service
        self.name = name
        self.log = log
        self.deaths = 0
        self.fault = ""
        """Why it does not run though nobody killed it; empty while all is well."""
        self._environment = dict(environment)
        self._process: Any = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @property
    def pid(self) -> int | None:
        """Of the process that runs now, or ran last."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Begin to keep it running."""
        self._thread.start()

    def kill(self) -> None:
        """SIGKILL it as it is, and wait until the next one runs."""
        with self._changed:
            before = self.deaths
            os.kill(self._process.pid, signal.SIGKILL)
            self._changed.wait_for(lambda: self.deaths > before or bool(self.fault), _STOP_SECONDS)

    def restart(self) -> None:
        """SIGTERM it; it is started again once it has ended."""
        self._process.terminate()

    def stop(self) -> None:
        """SIGTERM, and wait for its end; it stays away."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            self.fault = f"{self.name} did not stop within {_STOP_SECONDS} s"
            self._process.kill()

    def _keep(self) -> None:
        target = (MAINS[self.service], (), self._environment, str(self.log))
        while not self._stopping.is_set():
            process = _start(_CONTEXT.Process(target=_become, args=target))
            with self._changed:
                before, self._process = self._process, process
                self.deaths += before is not None
                self._changed.notify_all()
            if self._stopping.is_set():
                process.terminate()
            code = _join(process)
            # SIGTERM ends a process that has not come to handle it yet.
            if code not in (-signal.SIGKILL, -signal.SIGTERM, 0):
                with self._changed:
                    self.fault = f"{self.name} ended with {code}: see {self.log}"
                    self._changed.notify_all()
                return

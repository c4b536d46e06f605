"""A process that has imported what the services import, and becomes each of them by fork.

The imports take over a second of a processor and tens of megabytes in each process that makes
them itself; a fork takes milliseconds, and the pages that none of them changes are there once.

Only Linux: a fork of a process that uses the libraries of macOS is not safe. Until it forks,
nothing here starts a thread, an event loop, a channel or a server: so far gRPC may be forked
(https://github.com/grpc/grpc/blob/master/doc/fork_support.md, "use after fork").
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from services.supervisor.launch import die_with

LONGEST_MESSAGE = 64 * 1024
"""Bytes. The settings of one child are a few kilobytes."""

SHARED = (
    "services.gateway.service",
    "services.dispatcher.service",
    "services.collector.service",
    # These are imported by name: by SQLAlchemy and its dialect when they open a ledger, and by
    # anyio when httpx2 first connects.
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "aiosqlite",
    "anyio._backends._asyncio",
)

POSTGRESQL = ("asyncpg", "sqlalchemy.dialects.postgresql.asyncpg")
"""What a ledger in PostgreSQL needs besides."""

TLS = ("cryptography.x509", "cryptography.hazmat.primitives.serialization")
"""What servers import besides where they speak TLS."""

_HANDLED = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Call:
    """What a forked process is to run, as `python -m module arguments` would."""

    module: str
    arguments: list[str]

    def run(self) -> int:
        """Run the module as the program of this process; returns its exit code.

        Mostly it raises SystemExit itself, which is for the interpreter.
        """
        sys.argv = [self.module, *self.arguments]
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)
        return 0


@dataclass(frozen=True, slots=True)
class Forked:
    """The fork server, as the process sees it that forked it."""

    pid: int
    control: socket.socket
    """See `_Server` for what is said over it."""


def fork_server(modules: Sequence[str] = SHARED) -> Forked | Call | None:
    """Import the modules, and fork the process that forks the services.

    To be called before anything else is started. Returns its handle in this process; in each
    forked process what it is to run; and None in the fork server itself, which ends with
    the one that made it.
    """
    # Looking for garbage among what stays anyway is a fifth of the imports' time. What little
    # there is stays too: each process would fill its gaps, and so copy the pages around them.
    gc.disable()
    for module in modules:
        import_module(module)
    # Collections would write to every object's head, and so to a copy of each page.
    gc.freeze()
    gc.enable()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    # The fork server never takes one. Who signals all processes of the suite means them to stop
    # in order, which the supervisor sees to: this one ends last.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return Forked(pid, ours)
    ours.close()
    os.setsid()
    die_with(parent)
    return _Server(theirs).serve()


class _Server:
    """Forks what it is asked for, and tells when that has ended. JSON, one document a message:

    {"start": 1, "module": "services.gateway", "arguments": [], "environment": {...}}, with
    the descriptor for stdout and stderr, is answered by {"started": 1, "pid": 4711} or by
    {"failed": 1, "errno": 11}; {"signal": 15, "pid": 4711} by nothing; and {"ended": 4711,
    "code": -15} comes by itself, the code as subprocess has it.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, int] = {}
        """Pid by pidfd, of those that were not waited for: their pids are nobody else's."""

    def serve(self) -> Call | None:
        """Returns the call in a forked process, and None once the supervisor is gone."""
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        self._selector.register(self._control, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fd != self._control.fileno():
                    self._tell_end(key.fd)
                    continue
                content, descriptors, _, _ = socket.recv_fds(self._control, LONGEST_MESSAGE, 1)
                if not content:
                    return None
                message = json.loads(content)
                if "signal" in message:
                    if message["pid"] in self._children.values():
                        os.kill(message["pid"], message["signal"])
                elif self._forked(message, descriptors[0]):
                    # One that came since the fork has waited: it is not lost.
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
                    return Call(message["module"], message["arguments"])

    def _forked(self, message: dict[str, Any], output: int) -> bool:
        """Whether this is the new process."""
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(output)
            self._tell({"failed": message["start"], "errno": error.errno})
            return False
        if pid:
            os.close(output)
            descriptor = os.pidfd_open(pid)
            self._children[descriptor] = pid
            self._selector.register(descriptor, selectors.EVENT_READ)
            self._tell({"started": message["start"], "pid": pid})
            return False
        # Ctrl-C is for the supervisor alone, which stops its children in order.
        os.setsid()
        die_with(parent)
        self._selector.close()
        self._control.close()
        for descriptor in self._children:
            os.close(descriptor)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.environ.update(message["environment"])
        return True

    def _tell_end(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        pid, status = os.waitpid(self._children.pop(descriptor), 0)
        self._tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(message).encode())
        except BrokenPipeError:
            # The supervisor is gone, which the next look at the socket shows as well.
            return

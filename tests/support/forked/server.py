"""Forks a process for each stand-in that connects, after it has imported what that one names.

Only Linux, and nothing here starts a thread or a channel: see services/supervisor/fork_server.py.
"""

from __future__ import annotations

import atexit
import gc
import marshal
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

LONGEST_MESSAGE = 256 * 1024


@dataclass(frozen=True)
class Program:
    """What a forked process is to run, and what it is given."""

    words: list[str]
    """-m and a module or -c and code, then arguments."""
    folder: str
    environment: dict[str, str]
    descriptors: list[int]
    """Of stdin, stdout and stderr."""

    def run(self) -> None:
        """Run it as the program of this process."""
        for number, descriptor in enumerate(self.descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
        sys.stdin = os.fdopen(0, encoding=encoding, closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, encoding, "backslashreplace", closefd=False)
        gc.enable()
        kind, what, *arguments = self.words
        sys.argv = [what if kind == "-m" else kind, *arguments]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), vars(main))


def serve(listener: socket.socket) -> Program | None:
    """Until stdin ends, which the process of tests holds; returns twice for each program.

    That is: in each forked process what it is to run, and None in this one.
    """
    gc.disable()
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        while all(key.fd != 0 for key, _ in selector.select()):
            clear_away()
            connection, _ = listener.accept()
            with connection:
                content, descriptors, _, _ = socket.recv_fds(connection, LONGEST_MESSAGE, 3)
                if not content:
                    continue
                modules, *given = marshal.loads(content)
                load(modules)
                if os.fork() == 0:
                    listener.close()
                    if fork_once_more(connection):
                        return Program(*given, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
    clear_away()
    return None


def clear_away() -> None:
    """Wait for the processes that have ended, after they waited for a program each."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def load(modules: list[str]) -> None:
    if new := [name for name in modules if name not in sys.modules]:
        for name in new:
            import_module(name)
        gc.freeze()


def fork_once_more(connection: socket.socket) -> bool:
    """Fork the program and wait for it, to the end of this process; True in the new one."""
    pid = os.fork()
    if pid == 0:
        return True
    connection.send(str(pid).encode())
    ended = os.pidfd_open(pid)
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        selector.register(connection, selectors.EVENT_READ)
        if all(key.fd != ended for key, _ in selector.select()):
            # The stand-in was killed.
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def end(code: object) -> None:
    """End this process as Python does, but for taking apart what is loaded.

    That would take longer than most programs. Returns where Python has something to say.
    """
    if code is not None and not isinstance(code, int):
        return
    # What Python itself does first (Py_FinalizeEx).
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return
    os._exit(code or 0)


if __name__ == "__main__":
    program = serve(socket.socket(fileno=int(sys.argv[1])))
    if program is not None:
        try:
            program.run()
        except SystemExit as ended:
            end(ended.code)
            raise

"""The supervisor's end of the fork server: processes to wait for and to signal."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import structlog

from services.supervisor.fork_server import LONGEST_MESSAGE, Forked

log = structlog.get_logger()


class Process(Protocol):
    """A running child: of asyncio's subprocess, or forked."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the number of the signal that ended it."""

    @property
    def stdout(self) -> asyncio.StreamReader | None: ...

    async def wait(self) -> int:
        """Its exit code, once it has ended."""

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL."""


class ForkServerGone(Exception):
    """The fork server has ended, and with it all that it forked."""


class ForkedProcess:
    """A Process that the fork server made."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader | None, server: ForkServer) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._server = server
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        self._server.signal(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        self._server.signal(self.pid, signal.SIGKILL)

    def ended(self, code: int) -> None:
        self.returncode = code
        self._ended.set()


class ForkServer:
    """Starts modules by fork. Used within one event loop."""

    def __init__(self, forked: Forked) -> None:
        self._pid = forked.pid
        self._control = forked.control
        self._numbers = itertools.count(1)
        self._starting: dict[int, asyncio.Future[int]] = {}
        self._running: dict[int, ForkedProcess] = {}
        self._ends: dict[int, int] = {}
        """Exit codes of those that ended before `start` knew of them, by pid."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gone = False

    async def start(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], output: int
    ) -> ForkedProcess:
        """As `python -m module arguments`; `environment` is set on top of this process's own.

        output: a descriptor for stdout and stderr, or subprocess.PIPE. Raises ForkServerGone,
        and OSError where the machine does not give another process.
        """
        if self._gone:
            raise ForkServerGone
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._control, self._receive)
        read_end, write_end = os.pipe() if output == subprocess.PIPE else (None, None)
        number = next(self._numbers)
        started = self._starting[number] = self._loop.create_future()
        message = {
            "start": number,
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
        }
        try:
            self._send(message, [output if write_end is None else write_end])
            pid = await started
        except BaseException:
            if read_end is not None:
                os.close(read_end)
            raise
        finally:
            self._starting.pop(number, None)
            if write_end is not None:
                os.close(write_end)
        process = self._running[pid] = ForkedProcess(
            pid, None if read_end is None else await self._reader(read_end), self
        )
        if pid in self._ends:
            self._end(pid, self._ends.pop(pid))
        return process

    def signal(self, pid: int, number: int) -> None:
        """Does nothing where the process has ended: the fork server sees to it."""
        if not self._gone:
            self._send({"signal": int(number), "pid": pid})

    def close(self) -> None:
        """End the fork server, whose processes have ended, and wait until it is gone."""
        if self._loop is not None:
            self._loop.remove_reader(self._control)
        self._control.close()
        os.waitpid(self._pid, 0)

    async def _reader(self, descriptor: int) -> asyncio.StreamReader:
        assert self._loop is not None
        reader = asyncio.StreamReader()
        await self._loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        return reader

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        content = json.dumps(message).encode()
        assert len(content) <= LONGEST_MESSAGE
        try:
            socket.send_fds(self._control, [content], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            self._end_all()
            if descriptors:
                raise ForkServerGone from None

    def _receive(self) -> None:
        try:
            content = self._control.recv(LONGEST_MESSAGE)
        except ConnectionResetError:
            content = b""
        if not content:
            self._end_all()
            return
        message = json.loads(content)
        if "ended" in message:
            self._end(message["ended"], message["code"])
            return
        starting = self._starting.get(message.get("started", message.get("failed")))
        if starting is None or starting.done():
            # Nobody waits for it any more: the start was cancelled.
            if "pid" in message:
                self.signal(message["pid"], signal.SIGKILL)
        elif "failed" in message:
            starting.set_exception(OSError(message["errno"], os.strerror(message["errno"])))
        else:
            starting.set_result(message["pid"])

    def _end(self, pid: int, code: int) -> None:
        process = self._running.pop(pid, None)
        if process is None:
            self._ends[pid] = code
        else:
            process.ended(code)

    def _end_all(self) -> None:
        """The kernel kills all that it forked as soon as the fork server is dead."""
        if self._gone:
            return
        self._gone = True
        if self._loop is not None:
            self._loop.remove_reader(self._control)
        log.error("fork_server_ended", processes=len(self._running))
        for starting in self._starting.values():
            if not starting.done():
                starting.set_exception(ForkServerGone())
        for pid in list(self._running):
            self._end(pid, -signal.SIGKILL)

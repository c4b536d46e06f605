"""A client's program as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.conformance.signals import Failed, Signals, check

_SHOWN = 4000


class Program:
    """One run of it. What it says is kept, and each piece of it is a signal."""

    def __init__(self, process: asyncio.subprocess.Process, signals: Signals) -> None:
        self.stdout = ""
        self.stderr = ""
        self.code: int | None = None
        """Its exit code, once it has ended and everything it said has come."""
        self.ended = False
        self._process = process
        self._signals = signals
        self._task = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], cwd: Path, signals: Signals
    ) -> Program:
        """Run a command, at the head of a group of its own: a script may start the program."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # As of a shell's job in the background: programs would inherit that.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return cls(process, signals)

    async def until_says(self, text: str) -> None:
        """Wait until stderr has a text. Raises Failed where it ends before."""
        await self._signals.until(lambda: text in self.stderr or self.ended, f"{text!r} on stderr")
        check(text in self.stderr, f"it ended with {self.code} before it said {text!r} on stderr")

    async def exits(self, code: int) -> None:
        """Wait for its end. Raises Failed where that is another one."""
        await self._signals.until(lambda: self.ended, "the program's end")
        check(self.code == code, f"exit code {self.code}, not {code}")

    async def kill(self) -> None:
        """SIGKILL it, with what it has started, and wait for the end; nothing if it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._task

    def interrupt(self) -> None:
        """SIGINT to its group, as a terminal sends for Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def says(self, text: str) -> None:
        """Raises Failed where stderr has not a text."""
        check(text in self.stderr, f"{text!r} is missing on stderr")

    def batch_id(self) -> str:
        """What stands on stdout. Raises Failed where that is not one line."""
        lines = self.stdout.splitlines()
        if len(lines) != 1 or not lines[0].startswith("batch_") or self.stdout != lines[0] + "\n":
            raise Failed(f"stdout is {self.stdout[:200]!r}, not the batch's id on a line")
        return lines[0]

    def __str__(self) -> str:
        code = "runs" if self.code is None else f"exit code {self.code}"
        told = "".join(f"\n  {line}" for line in self.stderr[-_SHOWN:].splitlines())
        return f"{code}; stdout {self.stdout[:200]!r}; stderr:{told or ' nothing'}"

    async def _follow(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        await asyncio.gather(
            self._read(self._process.stdout, "stdout"), self._read(self._process.stderr, "stderr")
        )
        self.code = await self._process.wait()
        self.ended = True
        self._signals.notify()

    async def _read(self, stream: asyncio.StreamReader, name: str) -> None:
        while piece := await stream.read(64 * 1024):
            setattr(self, name, getattr(self, name) + piece.decode(errors="replace"))
            self._signals.notify()

"""Where the children's logs go: the terminal with their names, a file each, or as they are."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import IO, TypeAlias

from core.serving.log_stream import LogStream

Target: TypeAlias = "int | IO[bytes]"

_STDERR = 2
_CHUNK_BYTES = 64 * 1024


class Output:
    """Where a child writes. log_dir: a folder for <name>.log files; None: stderr.

    named: each line on stderr begins with the child's name. Otherwise children write to the
    supervisor's stderr itself: their JSON names the service.
    """

    def __init__(self, log_dir: Path | None, *, name_width: int = 10, named: bool = False) -> None:
        self._log_dir = log_dir
        self._name_width = name_width
        self._relayed = log_dir is None and named
        self._stderr = LogStream(sys.stderr.buffer, _interrupted)
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True)

    def open(self, name: str) -> Target:
        """What to give to subprocess for the child's output. A file is to be closed."""
        if self._log_dir is not None:
            return (self._log_dir / f"{name}.log").open("ab")
        return subprocess.PIPE if self._relayed else _STDERR

    def hint(self, name: str) -> str:
        """Human-readable: where to read what the child wrote."""
        return f"see {self._log_dir / f'{name}.log'}" if self._log_dir else "see its log above"

    async def relay(self, name: str, stream: asyncio.StreamReader) -> None:
        """Copy lines to stderr with the child's name in front, until the child has ended.

        They are taken from the child even where stderr takes none: it would have to wait.
        """
        prefix = f"{name:<{self._name_width}} | ".encode()
        rest = b""
        while chunk := await stream.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _CHUNK_BYTES:
                lines, rest = [*lines, rest], b""
            self._write(prefix, lines)
        self._write(prefix, [rest] if rest else [])

    def _write(self, prefix: bytes, lines: list[bytes]) -> None:
        if lines:
            text = b"".join(prefix + line + b"\n" for line in lines)
            self._stderr.write(text, len(lines))


def _interrupted(lines: int) -> bytes:
    return b"%d log lines are missing here: they could not be written\n" % lines

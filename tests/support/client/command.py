"""The command `polybatch`, run as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.forked.python import python

Converting = Callable[..., tuple[int, str]]
"""Words behind `polybatch convert` to the exit code and what stderr says."""

GOOD = b'{"custom_id": "a"}\n' * 100


class _Started(subprocess.Popen[str]):
    """Ended where a test fails: closing a stream that a thread is reading waits for its end."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is not None:
            self.terminate()
        super().__exit__(kind, value, traceback)


@dataclass
class Command:
    """Runs the command line in a folder of its own."""

    folder: Path
    environment: dict[str, str]
    fresh: bool = False
    """Whether each process imports everything itself."""

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Starts it; output and errors are pipes, so not terminals."""
        words = ("-m", "polybatch", *arguments)
        return _Started(
            [sys.executable, *words] if self.fresh else python(*words),
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        process = self.start(*arguments, **options)
        output, errors = process.communicate(timeout=30)
        assert "Traceback" not in (errors or "")
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Runs a line of a shell to its end."""
        return subprocess.run(
            ["/bin/sh", "-c", line],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=30,
        )

"""The clients of the run: what builds each, and what runs its program."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLCHAIN_MISSING = 69
"""Exit code of a build that lacks its toolchain, and says so in its last line."""


@dataclass(frozen=True)
class Client:
    """One client; `command` makes the command line of its program from submit's arguments."""

    name: str
    command: Callable[[Sequence[str]], list[str]]
    build: Path | None = None
    bad_line: str = r"^  line {number}: {field}"
    """What begins a line of stderr about a bad line: a regular expression."""
    reads_only: bool = False
    """It has no program: it makes single calls, as somebody does who looks at a batch."""

    async def make(self) -> str:
        """Build it. Returns why it is skipped; empty: it is ready. Raises BuildFailed."""
        if self.reads_only:
            return "" if grpcurl() else "grpcurl is not built: make clients-test does, with Go"
        if self.build is None:
            return ""
        if not self.build.exists():
            raise BuildFailed(f"{self.build.relative_to(ROOT)} is missing")
        process = await asyncio.create_subprocess_exec(
            str(self.build),
            cwd=self.build.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode(errors="replace").strip()
        if process.returncode == TOOLCHAIN_MISSING:
            return said.splitlines()[-1] if said else "its toolchain is missing"
        if process.returncode:
            raise BuildFailed(f"build.sh ended with {process.returncode}:\n{said[-4000:]}")
        return ""


class BuildFailed(Exception):
    """A client could not be built, for another reason than a missing toolchain."""


def grpcurl() -> str | None:
    """The program that `make clients-test` builds, else the one on the PATH."""
    own = Path(sys.prefix) / "bin" / "grpcurl"
    return str(own) if own.exists() else shutil.which("grpcurl")


def _python(arguments: Sequence[str]) -> list[str]:
    """`polybatch` as `submit`: the results are an option, and to watch is a command."""
    *options, results = arguments
    command = "submit"
    if "--watch" in options:
        options.remove("--watch")
        command = "watch"
    return [sys.executable, "-m", "polybatch", command, *options, "-o", results]


def _program(folder: str) -> Client:
    script = str(ROOT / "clients" / folder / "submit.sh")
    return Client(
        folder, lambda arguments: [script, *arguments], ROOT / "clients" / folder / "build.sh"
    )


CLIENTS = (
    Client("python", _python, bad_line=r"^  \S+:{number}: error: .*{field}"),
    *map(_program, ("go", "java", "rust", "typescript", "cpp")),
    Client("grpcurl", lambda arguments: [grpcurl() or "grpcurl", *arguments], reads_only=True),
)


def environment(**variables: str) -> dict[str, str]:
    """What a client inherits, without polybatch's own variables but for those given."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("POLYBATCH_")}
    return inherited | variables

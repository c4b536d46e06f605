"""Builds the Python packages: from the same commit, by the same tools, the same bytes."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# What each package is made of, relative to the root.
PACKAGES: dict[str, tuple[str, ...]] = {
    "clients/python": ("clients/python",),
    ".": ("pyproject.toml", "LICENSE", "core", "services"),
}


class BuildFailed(Exception):
    """A tool did not do its work; its output is the message."""


def commit_time(root: Path) -> int:
    """When the commit was made that is checked out, in seconds since 1970."""
    return int(_run(["git", "log", "-1", "--format=%ct"], root))


def build(root: Path, into: Path) -> list[Path]:
    """Builds sdist and wheel of each package into a folder, and returns their paths.

    What git ignores is not packed, such as what an earlier build has left.
    """
    epoch = commit_time(root)
    built: list[Path] = []
    for package, parts in PACKAGES.items():
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch, "source")
            _copy_tracked(root, parts, copy)
            sdist = _build(copy / package, "--sdist", Path(scratch, "sdist"), epoch)
            even_out(sdist, epoch)
            # Of the sdist, as whoever installs from that builds it.
            wheel = build_wheel(sdist, Path(scratch, "wheel"), epoch)
            built += [Path(shutil.copy(each, into)) for each in (sdist, wheel)]
    return built


def build_wheel(sdist: Path, into: Path, epoch: int) -> Path:
    """Builds the wheel of an sdist into a folder; `epoch`: the time of all files in it."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        [source] = Path(scratch).iterdir()
        return _build(source, "--wheel", into, epoch)


def even_out(sdist: Path, epoch: int) -> None:
    """Takes out of an sdist what differs from one checkout to the next: times, owners, umask."""
    plain = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=plain, mode="w") as new:
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            executable = member.isdir() or member.mode & 0o100
            even = member.replace(
                mtime=epoch, mode=0o755 if executable else 0o644, uid=0, gid=0, uname="", gname=""
            )
            even.pax_headers = {}
            new.addfile(even, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed:
        packed.write(plain.getvalue())


def _copy_tracked(root: Path, parts: tuple[str, ...], into: Path) -> None:
    names = _run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *parts], root
    )
    for name in filter(None, names.split("\0")):
        if (source := root / name).exists():  # else it is deleted, and not committed yet
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, into / name)


def _build(source: Path, kind: str, into: Path, epoch: int) -> Path:
    command = [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", str(into), "."]
    _run(command, source, SOURCE_DATE_EPOCH=str(epoch))
    [made] = into.iterdir()
    return made


def _run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildFailed(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout

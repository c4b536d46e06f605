"""A disk that tests can fill: a file system in the memory."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1024 * 1024


@contextmanager
def small_disk(folder: Path, size: int, files: int = 0) -> Iterator[Path]:
    """A file system of so many bytes in the memory, mounted at the folder. files: 0: any number."""
    folder.mkdir(parents=True)
    options = f"size={size},mode=700" + (f",nr_inodes={files}" if files else "")
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path, leave: int) -> Iterator[None]:
    """Have somebody else take all of the disk but so many bytes."""
    ballast = disk / "ballast"
    found = os.statvfs(disk)
    size = found.f_bavail * found.f_frsize - leave
    with ballast.open("wb") as out:
        if leave:
            os.posix_fallocate(out.fileno(), 0, size)
        else:
            fill_up(out.fileno())
    try:
        yield
    finally:
        ballast.unlink()


def fill_up(descriptor: int) -> None:
    page = bytes(4096)
    try:
        while True:
            os.write(descriptor, page)
    except OSError:
        return


def no_room_for_manifest(folder: Path, _size: int, _reserve: int) -> None:
    """In the place of require_headroom: what a batch's results begin with has found room."""
    if folder.parent.name == "results":
        raise OSError(errno.ENOSPC, "no space left on device")

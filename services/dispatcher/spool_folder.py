"""Spool files: in use, or left behind by a dispatcher that died.

Dispatchers of one machine may share a data folder, and one that starts clears up. A file
in use is locked, and the kernel releases a lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger()

_PREFIX = "shard_"


@contextmanager
def spool_file(folder: Path, name: str) -> Iterator[Path]:
    """An empty file that is this process's own for the length of the block, then gone.

    name: begins with "shard_", and is nobody else's.
    """
    path = folder / name
    descriptor = _create_locked(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _create_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Between the two lines above another dispatcher may have taken it for left behind.
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def remove_stale_spools(folder: Path) -> None:
    """Delete the files that no living dispatcher holds."""
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            # Its dispatcher, or another that starts, was faster.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            path.unlink(missing_ok=True)
            log.info("stale_spool_removed", spool=path.name)
        finally:
            os.close(descriptor)

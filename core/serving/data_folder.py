"""One supervisor for one data folder, and none while its ledger is copied."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.serving.process import StartupError


@contextmanager
def data_folder_lock(
    data_dir: Path, *, remedy: str = "stop it, or set POLYBATCH_DATA_DIR to another folder"
) -> Iterator[None]:
    """Hold the data folder, making it if it is missing.

    Raises StartupError if a supervisor holds it already, or if it cannot be written. The
    kernel releases it when the process ends, however it ends.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unusable(data_dir, error) from error
    with open(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = file.read().strip()
            raise StartupError(
                f"the data folder {data_dir} is in use by another supervisor"
                f"{f' (process {holder})' if holder else ''}: {remedy}"
            ) from error
        with usable_data_folder(data_dir):
            # Over what is there: on a full disk that needs no more room.
            number = f"{os.getpid()}\n".encode()
            os.pwrite(descriptor, number, 0)
            os.ftruncate(descriptor, len(number))
        yield


@contextmanager
def usable_data_folder(data_dir: Path) -> Iterator[None]:
    """Turn what keeps the block from reading or writing the folder into a StartupError."""
    try:
        yield
    except OSError as error:
        raise _unusable(data_dir, error) from error


def _unusable(data_dir: Path, error: OSError) -> StartupError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    step = "make room on its disk" if full else "make it a folder that this user may write"
    where = f"{error.filename}: " if error.filename else ""
    return StartupError(
        f"the data folder {data_dir} cannot be used: {where}{error.strerror}; "
        f"{step}, or set POLYBATCH_DATA_DIR to another"
    )

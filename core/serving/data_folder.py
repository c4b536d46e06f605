"""One supervisor for one data folder, and none while its ledger is copied."""

from __future__ import annotations

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
        opened = (data_dir / "supervisor.lock").open("a+")
    except OSError as error:
        raise StartupError(
            f"the data folder {data_dir} cannot be used: {error.filename}: {error.strerror}; "
            "make it a folder that this user may write, or set POLYBATCH_DATA_DIR to another"
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip()
            raise StartupError(
                f"the data folder {data_dir} is in use by another supervisor"
                f"{f' (process {holder})' if holder else ''}: {remedy}"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield

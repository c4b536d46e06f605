"""One supervisor for one data folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.serving import StartupError


@contextmanager
def data_folder_lock(data_dir: Path) -> Iterator[None]:
    """Hold the data folder, making it if it is missing.

    Raises StartupError if another supervisor holds it. The kernel releases it when
    the process ends, however it ends.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / "supervisor.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip()
            raise StartupError(
                f"the data folder {data_dir} is in use by another supervisor"
                f"{f' (process {holder})' if holder else ''}: stop it, "
                "or set POLYBATCH_DATA_DIR to another folder"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield

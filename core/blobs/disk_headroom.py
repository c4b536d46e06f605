"""Room on the disk: some is left free, so that the ledger on it can go on."""

from __future__ import annotations

import errno
import os
from io import FileIO
from pathlib import Path


def require_headroom(folder: Path, size: int, reserve: int) -> None:
    """Raise OSError (ENOSPC) unless `reserve` bytes stay free after `size` more are written.

    A full disk would stop the database too, and nothing could be said, cancelled or
    deleted any more. Several writers may ask at the same time: the reserve bears that.
    """
    if not reserve:
        return
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize - size < reserve:
        raise OSError(
            errno.ENOSPC, f"less than {reserve:,} bytes would stay free on the disk of {folder}"
        )


def write_whole(file: FileIO, contents: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part, and says so at the next.

    Raises OSError.
    """
    view = memoryview(contents)
    while view:
        view = view[file.write(view) :]


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that a disk or quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False

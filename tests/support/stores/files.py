"""The files of a local store, while a service may still take some of them away."""

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Every file at any depth below the folder.

    Path.rglob fails where a folder is deleted between being named and being read
    (https://github.com/python/cpython/issues/68320); os.walk goes past it.
    """
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]

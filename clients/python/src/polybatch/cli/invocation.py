"""How the command was called, so that what it advises can be pasted."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def called_as(program: str | None = None, python: str | None = None) -> str:
    """Returns the words that call the command again from the same place, quoted for a shell.

    `polybatch` where the search path finds it, else its path as it was given, or
    `PYTHON -m polybatch`. `program`: sys.argv[0]; `python`: sys.orig_argv[0].
    """
    program = sys.argv[0] if program is None else program
    path = Path(program)
    if path.name == "__main__.py":
        return f"{shlex.quote(sys.orig_argv[0] if python is None else python)} -m polybatch"
    if path.name != "polybatch":
        # Called from a program of the user's: how, nobody can know.
        return "polybatch"
    # A shell that has found a script puts the whole path in its place.
    found = shutil.which(path.name)
    return path.name if found is not None and Path(found) == path else shlex.quote(program)

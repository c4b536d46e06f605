"""The command `polybatch`."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from polybatch.cli.exit_codes import ExitCode

__all__ = ["ExitCode", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code. `argv` defaults to sys.argv[1:]."""
    if not all(find_spec(name) for name in ("click", "rich")):
        print(
            "polybatch: the command line needs more than the library: pip install 'polybatch[cli]'",
            file=sys.stderr,
        )
        return ExitCode.BAD_INPUT
    # gRPC's core would log into the progress bar; what matters comes as an error. It reads
    # this once, when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Looking for garbage among what is imported was a fifth of the time of a short command.
    gc.set_threshold(50_000)
    # And looking for it at the end, among all that the process leaves anyway, a fifth more.
    atexit.register(gc.freeze)
    try:
        from polybatch.cli.program import main as run
    except KeyboardInterrupt:
        # Loading takes long enough for somebody to see the wrong command.
        print("polybatch: stopped.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return run(argv)

"""The services: each is a program, `python -m services.<name>`."""

import signal
import sys

if (
    "services.supervisor" in sys.orig_argv
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    # Nothing is there to be stopped while the supervisor is imported, which takes seconds: Ctrl-C
    # ends the process at once, and not in a traceback. Here, as this is the first of it to run.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Before anything imports structlog: see there.
import core as _core  # noqa: F401

"""Runs a command that does not outlive the process that started it.

    python -I -S launch.py PARENT_PID COMMAND [ARGUMENT ...]

A program of its own, which becomes the command by exec, since the other way to get
prctl into a child, preexec_fn, runs Python between fork and exec, where a thread of the
parent may have left a lock held (and gRPC has threads). The kernel sends the signal when
the parent dies in whatever way. Only Linux has it; elsewhere the command is just run.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have this process be killed when its parent dies; `parent`: the pid of that one."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:
            # It died before the call above, which is not told of it any more.
            sys.exit(1)


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    die_with(parent)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

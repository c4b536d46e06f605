"""What the command's exit code means."""

from __future__ import annotations

from enum import IntEnum

import polybatch


class ExitCode(IntEnum):
    """Exit codes, as `polybatch --help` lists them."""

    description: str

    def __new__(cls, value: int, description: str) -> ExitCode:
        """Keeps what the code means beside its number."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.description = description
        return code

    OK = 0, "success; a watched batch completed and every line succeeded"
    ERROR = 1, "the call failed: service unavailable, key not accepted, no such id"
    BAD_INPUT = 2, "wrong usage, or an input file that cannot be used"
    LINES_FAILED = 3, "the batch completed, but some of its lines failed"
    BATCH_FAILED = 4, "the batch failed, expired or was cancelled"
    NOT_CONFIRMED = 5, "no batch was made: it may cost more than --confirm-above allows unasked"
    INTERRUPTED = 130, "stopped with Ctrl-C; a batch that was made goes on"
    BROKEN_PIPE = 141, "the reader of the output went away, as in `polybatch list | head -1`"


def outcome(batch: polybatch.Batch) -> ExitCode:
    """Returns the exit code for a batch that has ended."""
    if batch.state is not polybatch.BatchState.COMPLETED:
        return ExitCode.BATCH_FAILED
    return ExitCode.OK if batch.ok else ExitCode.LINES_FAILED
